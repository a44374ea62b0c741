"""This machine: GPUs train one run after the other; a CPU's cores are shared out among the runs."""

import dataclasses
import sys
from collections.abc import Collection, Sequence

from launch.backends import devices, scheduler
from launch.backends.interface import Backend, check_disk
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task


@dataclasses.dataclass(frozen=True)
class Local(Backend):
    """Runs tasks as processes on the devices of this machine."""

    name = "local"

    def check(self, sweep: Sweep) -> None:
        """See `Backend.check`."""
        check_disk(sweep, self.name)

    def preview(self, sweep: Sweep, tasks: Sequence[Task], done: Collection[str]) -> str:
        """Returns nothing: the tasks' commands are all there is."""
        return ""

    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> list[Task]:
        """See `Backend.run`.

        Raises:
          UserError: A run is to share its FC kernels among more devices than there are, or another
            sweep is at work in that root.
          StoppedError: A signal asked it to stop; the runs have saved.
        """
        found = devices.find()
        print(f"on {found}")
        devices.check(found, tasks[0].config().model_parallel)
        return scheduler.run(sweep, tasks, found, lambda task: [sys.executable, *task.arguments])
