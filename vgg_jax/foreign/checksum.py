"""The SHA-256 of a weight file, a part of which its name may carry."""

import hashlib
import pathlib
import re

from vgg_jax.errors import UserError
from vgg_jax.foreign.file_errors import naming

_DIGITS = re.compile(r".+-([0-9a-f]{8})\.[^.]+")


def check(path: pathlib.Path) -> str:
    """Computes the SHA-256 of a file and compares it with the digits in the file's name.

    PyTorch's names, such as vgg16-397923af.pth, end with the first eight hexadecimal digits. A file
    whose name has none passes.

    Returns:
      The whole SHA-256, 64 hexadecimal digits.

    Raises:
      UserError: The digits don't match, or the file can't be read.
    """
    with naming(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    named = _DIGITS.fullmatch(path.name)
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"{path} is damaged or not the file that its name says: its SHA-256 begins with "
            f"{digest[:8]} instead of {named[1]}. Download it again, or rename it if you changed "
            "it yourself."
        )
    return digest
