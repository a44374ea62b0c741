"""The lock of a sweep's folder: one process at a time runs its tasks."""

import contextlib
import pathlib

from vgg_jax.storage import lock

WAIT_S = 60.0  # A sweep that was killed leaves runs that take so long to save.


def locked(folder: pathlib.Path) -> contextlib.AbstractContextManager[int]:
    """Holds a sweep's folder for this process and those that inherit the file descriptor it gives.

    Raises:
      UserError: Another sweep is at work there.
    """
    refusal = (
        f"Another sweep is at work in {folder}, or a run that it left behind. Wait until it has "
        "ended, or choose another --root."
    )
    return lock.locked(folder / ".sweep.lock", refusal, wait_s=WAIT_S)
