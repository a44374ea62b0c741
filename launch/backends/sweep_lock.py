"""The lock of a sweep's folder: one process at a time runs its tasks."""

import contextlib
import fcntl
import pathlib
import time
from collections.abc import Iterator

from vgg_jax.errors import UserError

WAIT_S = 60.0  # For the runs of a sweep that was killed to save.


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[int]:
    """Holds a sweep's folder for this process and those that inherit the file descriptor it gives.

    Raises:
      UserError: Another sweep is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".sweep.lock").open("w") as file:
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until_s:
                    raise UserError(
                        f"Another sweep is at work in {folder}, or a run that it left behind. "
                        "Wait until it has ended, or choose another --root."
                    ) from error
            time.sleep(0.5)
        yield file.fileno()
