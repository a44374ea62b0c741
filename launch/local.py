"""One machine: the tasks run here, on its GPUs or its CPU's cores."""

import contextlib
import fcntl
import pathlib
import time
from collections.abc import Iterator, Sequence

from launch import devices
from launch.graph import Sweep, Task
from launch.scheduler import Scheduler, State
from vgg_jax.errors import UserError

WAIT_S = 60.0  # For the runs of a sweep that was killed to save.


def run(sweep: Sweep, tasks: Sequence[Task]) -> list[Task]:
    """Runs what is missing.

    Returns:
      The tasks that failed.

    Raises:
      UserError: Another sweep is at work there.
      StoppedError: A signal asked it to stop; the runs have saved.
    """
    with _locked(sweep.here / ".sweep.lock") as lock_fd:
        found = devices.find()
        print(f"on {found}")
        scheduler = Scheduler(tasks, found, lock_fd=lock_fd)
        scheduler.run()
    return [job.task for job in scheduler.jobs.values() if job.state is State.FAILED]


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until_s:
                    raise UserError(
                        f"Another sweep is at work in {path.parent}, or a run that it left behind. "
                        "Wait until it has ended, or choose another --root."
                    ) from error
            time.sleep(0.5)
        yield file.fileno()
