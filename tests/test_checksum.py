"""Names that carry the first digits of a file's SHA-256."""

import hashlib

import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign import checksum

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        f"vgg16-{DIGEST[:8]}.pth",
        "vgg16.pth",
        "vgg16-0123abc.pth",
        "vgg16-0123abcde.pth",
        "vgg16-pretrain.pth",
        "0123abcd.pth",
        "vgg16-0123abcd",
        "vgg16-0123abcd-ours.pth",
    ],
)
def test_a_name_without_other_digits_passes(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENT)
    assert checksum.check(tmp_path / name) == DIGEST


def test_a_name_with_other_digits_is_refused(tmp_path):
    path = tmp_path / "vgg16-397923af.pth"
    path.write_bytes(CONTENT)
    with pytest.raises(UserError, match=f"begins with {DIGEST[:8]} instead of 397923af") as error:
        checksum.check(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match="can't be read"):
        checksum.check(tmp_path / "absent")
