"""Files that the system doesn't let this process read, which needn't be damaged."""

import errno
import os

from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

_REASONS = (
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
    *(errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
)


def refuse(path: Path, error: Exception) -> None:
    """Refuses a file or folder that the system doesn't let this process read.

    Call this before a file is called damaged, for which the remedy may be to remove it.

    Args:
      path: The file or folder.
      error: What was raised when it was read.

    Raises:
      UserError: The system is the reason.
    """
    if reason := _reason(error) or forbidden_below(path):
        raise UserError(
            f"{path} can't be read: {reason}. It needn't be damaged. Once it can be read, the same "
            "command goes on."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _REASONS:
        return os.strerror(error.errno)
    message = str(error)  # TensorStore's errors are ValueErrors that end with the system's words.
    return next((text for text in map(os.strerror, _REASONS) if text in message), "")


def forbidden_below(path: Path) -> str:
    """Returns why a folder on a disk can't be read, if this process may not; "" otherwise.

    Orbax takes what lies in a folder that can't be read for missing.
    """
    if files.in_bucket(path):
        return ""
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            mode = os.R_OK | (os.X_OK if name in folders else 0)
            if not os.access(os.path.join(folder, name), mode):
                return os.strerror(errno.EACCES)
    return ""
