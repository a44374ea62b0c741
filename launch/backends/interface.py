"""The interface that `launch.sweep` expects of a backend."""

import abc
from collections.abc import Collection, Sequence
from typing import ClassVar

from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.errors import UserError
from vgg_jax.storage import files


class Backend(abc.ABC):
    """A place where the tasks of a sweep run: this machine, a cluster or a cloud.

    Each backend is a frozen dataclass. Its fields are the flags of `launch.sweep` that it reads,
    under the flags' names. Flags that only other backends read are refused.

    Attributes:
      name: The value of --backend that selects it.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def check(self, sweep: Sweep) -> None:
        """Checks a sweep's flags and folders, before its tasks are planned.

        Raises:
          UserError: The flags or the sweep's folders don't suit the backend.
        """

    @abc.abstractmethod
    def preview(self, sweep: Sweep, tasks: Sequence[Task], done: Collection[str]) -> str:
        """Returns the files and commands that `run` would add to the tasks' own commands.

        Args:
          sweep: The settings of the sweep.
          tasks: All tasks, each after those that it waits for.
          done: The names of the tasks that are done.
        """

    @abc.abstractmethod
    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> list[Task] | None:
        """Runs or submits the tasks that aren't done.

        Args:
          sweep: The settings of the sweep, which are saved in its root.
          tasks: All tasks, each after those that it waits for.

        Returns:
          The tasks that failed; None if the tasks were only submitted and run without this process.

        Raises:
          UserError: The backend isn't available on this machine, or another sweep is running in
            that root.
          StoppedError: A signal asked the sweep to stop.
        """


def check_disk(sweep: Sweep, backend: str) -> None:
    """Checks that a sweep's root and data lie on a disk.

    Raises:
      UserError: The root is a bucket, or the data don't exist.
    """
    if sweep.is_in_bucket:
        raise UserError(f"--backend={backend} needs a --root on a disk, not {sweep.root}.")
    if not sweep.data:
        return
    path = files.path(sweep.data)
    if not (path.is_file() if sweep.has_csv_data else path.is_dir()):
        raise UserError(
            f"--data={sweep.data} is neither a folder nor a file that ends in .csv."
            f"{files.similar(path)} Give the folder that holds train/CLASS/ and val/CLASS/, or a "
            "CSV file of images; unpack an archive first."
        )
