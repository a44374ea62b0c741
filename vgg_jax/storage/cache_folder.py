"""The folder `data.cache_dir` of a config, on this machine's disk."""

import os
import pathlib

from vgg_jax.errors import UserError


def path(cache_dir: str, *parts: str) -> pathlib.Path:
    """Returns the path of the folder, or of something in it. Nothing is made.

    Raises:
      UserError: It is below a home folder that isn't known.
    """
    try:
        return pathlib.Path(cache_dir, *parts).expanduser()
    except RuntimeError as error:
        raise _refusal(cache_dir, "no home folder is known") from error


def make(folder: pathlib.Path) -> None:
    """Makes the folder, or one in it, unless it is there already.

    Raises:
      UserError: It can't be written to.
    """
    reason = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
    if reason or not os.access(folder, os.W_OK):
        raise _refusal(folder, reason or "no permission")


def _refusal(folder: str | pathlib.Path, reason: str) -> UserError:
    return UserError(
        f"The cache {folder} can't be written to ({reason}). Set --config.data.cache_dir to a "
        "folder that can be written to."
    )
