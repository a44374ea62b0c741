"""Files that were saved under a weight file's name by mistake."""

import gzip

import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign import not_weights

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:397923af\nsize 553433881\n"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "is empty. Download it again"),
        (b"<!DOCTYPE html>\n<html>", "is a web page"),
        (b"\xef\xbb\xbf \n<HTML lang='en'>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML"),
        (
            LFS,
            "a Git LFS pointer, which stands for a file of 553,433,881 bytes. Run `git lfs pull`",
        ),
        (LFS[:60], "a Git LFS pointer, which stands for a file. Run"),
        (gzip.compress(b"weights", mtime=0), "is compressed"),
    ],
)
def test_what_a_file_is_instead_of_weights(tmp_path, head, message):
    path = tmp_path / "vgg16.pth"
    with pytest.raises(UserError) as error:
        not_weights.refuse(path, head)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x80\x02\x8a\n", b"\x93NUMPY", b"\x0a\x05VGG"])
def test_other_files_pass(tmp_path, head):
    not_weights.refuse(tmp_path / "w", head)
