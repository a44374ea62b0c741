"""File locks, which one process at a time holds, together with those that inherit them."""

import contextlib
import fcntl
import pathlib
import time
from collections.abc import Iterator

from vgg_jax.errors import UserError

_RETRY_S = 0.2


@contextlib.contextmanager
def locked(
    path: pathlib.Path, refusal: str | None = None, *, wait_s: int | float = 0
) -> Iterator[int]:
    """Holds an exclusive lock on a file, which is created if it doesn't exist.

    The lock is free again when this context has ended, and every process that inherited the file
    descriptor has ended too, even if they were killed.

    Args:
      path: An empty file on a disk. It is never removed, because waiting processes have it open.
      refusal: The message of the error; None to wait as long as it takes.
      wait_s: Seconds to wait before the error.

    Yields:
      The file descriptor that holds the lock.

    Raises:
      UserError: Another process still holds the lock after wait_s.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        until_s = time.monotonic() + wait_s
        while not _acquire(file.fileno()):
            if refusal is not None and time.monotonic() >= until_s:
                raise UserError(refusal)
            time.sleep(_RETRY_S)
        yield file.fileno()


def _acquire(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
