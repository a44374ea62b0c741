"""The lock of a sweep's folder: one process at a time runs its tasks."""

import contextlib
import pathlib

from vgg_jax.storage import writer

WAIT_S = 60.0  # The runs of a sweep that was killed need time to save.


def locked(folder: pathlib.Path) -> contextlib.AbstractContextManager[int | None]:
    """Locks a sweep's folder for this process and those that inherit the file descriptor it yields.

    It yields None where there is no flock. A killed sweep's runs, which may still be saving, then
    don't hold the folder, but each holds its own workdir.

    Raises:
      UserError: Another sweep is running in that folder, or a run that it left behind, and still is
        after WAIT_S.
    """
    return writer.one_writer(
        folder, "sweep", "running a sweep", "choose another --root", wait_s=WAIT_S
    )
