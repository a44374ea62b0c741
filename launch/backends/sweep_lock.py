"""The lock of a sweep's folder: one process at a time runs its tasks."""

import contextlib
import pathlib

from vgg_jax.storage import lock

WAIT_S = 60.0  # The runs of a sweep that was killed need time to save.


def locked(folder: pathlib.Path) -> contextlib.AbstractContextManager[int]:
    """Locks a sweep's folder for this process and those that inherit the file descriptor it yields.

    Raises:
      UserError: Another sweep is running in that folder, and still is after WAIT_S.
    """
    refusal = (
        f"Another sweep, or a run that it left behind, is still running in {folder}. Wait until it "
        "has ended, or choose another --root."
    )
    return lock.locked(folder / ".sweep.lock", refusal, wait_s=WAIT_S)
