"""Recognises files that were saved under a weight file's name by mistake."""

import pathlib
import re

from vgg_jax.errors import UserError

_LFS_SIZE = re.compile(rb"^size (\d{1,15})$", re.MULTILINE)


def refuse(path: pathlib.Path, head: bytes) -> None:
    """Checks that a file is not a web page, a stand-in or an archive around the weights.

    Args:
      path: The file.
      head: Its first bytes, 64 kB or fewer.

    Raises:
      UserError: The file is one of these; the message says which, and what to do.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        raise UserError(f"{path} is empty. Download it again.")
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        size = _LFS_SIZE.search(head)
        of_bytes = f" of {int(size[1]):,} bytes" if size else ""
        raise UserError(
            f"{path} is a Git LFS pointer, which stands for a file{of_bytes}. Run `git lfs pull` "
            "in its repository, or download the file itself."
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        raise UserError(
            f"{path} is a web page (HTML) instead of weights. Open it in a browser to see what the "
            "server answered, then download the file itself."
        )
    if text.startswith((b"<?xml", b"<error")):
        raise UserError(
            f"{path} is XML instead of weights, as servers answer when a file is missing or "
            "forbidden. Read it, then download the file itself."
        )
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")):
        raise UserError(f"{path} is compressed (gzip, bzip2 or xz). Unpack it first.")
