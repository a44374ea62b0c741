"""What a backend is to `launch.sweep`."""

import abc
from collections.abc import Collection, Sequence
from typing import ClassVar

from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.errors import UserError
from vgg_jax.storage import files


class Backend(abc.ABC):
    """Where the tasks of a sweep run.

    Each is a frozen dataclass. Its fields are the flags of `launch.sweep` that it reads, under the
    flags' names; other backends' flags are refused.

    Attributes:
      name: What --backend calls it.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def check(self, sweep: Sweep) -> None:
        """Checks a sweep before anything else is looked at.

        Raises:
          UserError: The flags or the sweep's folders don't suit the backend.
        """

    @abc.abstractmethod
    def preview(self, sweep: Sweep, tasks: Sequence[Task], done: Collection[str]) -> str:
        """Returns the files and commands that `run` would add to the tasks' own commands.

        Args:
          sweep: How the tasks are made.
          tasks: All tasks, each behind those that it waits for.
          done: The names of those whose result is there already.
        """

    @abc.abstractmethod
    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> list[Task] | None:
        """Makes what is missing.

        Args:
          sweep: How the tasks are made; it is saved in its root.
          tasks: All tasks, each behind those that it waits for.

        Returns:
          The tasks that failed; None where they were handed over, and end without this process.

        Raises:
          UserError: The backend isn't to be had here, or another sweep is at work in that root.
          StoppedError: A signal asked it to stop.
        """


def check_disk(sweep: Sweep, backend: str) -> None:
    """Checks that a sweep's root and data lie on a disk.

    Raises:
      UserError: The root is a bucket, or there are no such data.
    """
    if sweep.is_in_bucket:
        raise UserError(f"--backend={backend} needs a --root on a disk, not {sweep.root}.")
    if not sweep.data:
        return
    path = files.path(sweep.data)
    if not (path.is_file() if sweep.has_csv_data else path.is_dir()):
        raise UserError(
            f"--data={sweep.data} is neither a folder nor a file that ends in .csv. Give the "
            "folder that holds train/CLASS/ and val/CLASS/, or a CSV file of images; unpack an "
            "archive first."
        )
