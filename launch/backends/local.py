"""This machine: GPUs train one run after another; a CPU's cores are shared out among the runs."""

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
        """Returns "", because `run` adds nothing to the tasks' own commands."""
        return ""

    def run(self, sweep: Sweep, tasks: Sequence[Task]) -> list[Task]:
        """See `Backend.run`.

        Raises:
          UserError: model_parallel is larger than the number of GPUs, or another sweep is running
            in that root.
          StoppedError: A signal asked the sweep to stop, and its runs have saved.
        """
        found = devices.find()
        print(f"on {found}")
        devices.check(found, tasks[0].config().model_parallel)
        return scheduler.run(sweep, tasks, found, lambda task: [sys.executable, *task.arguments])
