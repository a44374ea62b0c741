"""Files that one process at a time holds a lock on, with the processes that it lets inherit it."""

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
    """Holds a file's lock, which nobody else then holds; the file is made where it isn't there.

    The lock is free again when this context has ended and every process that inherited the file
    descriptor has ended too, however they ended.

    Args:
      path: A file on a disk, which holds nothing. It stays, since whoever waits has it open.
      refusal: What the error says; None to wait as long as it takes.
      wait_s: Seconds to wait before the error.

    Yields:
      The file descriptor that holds the lock.

    Raises:
      UserError: The lock is held, and still is after wait_s.
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
