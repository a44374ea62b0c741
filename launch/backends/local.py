"""This machine: GPUs train one run after another; a CPU's cores are shared out among the runs."""

import dataclasses
import sys
from collections.abc import Collection, Sequence

from launch.backends import devices, scheduler
from launch.backends.interface import Backend, check_disk
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Local(Backend):
    """Runs tasks as processes on the devices of this machine."""

    name = "local"
    tasks_per_gpu: int = 1

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
        model_parallel = tasks[0].config().model_parallel
        devices.check(found, model_parallel)
        if self.tasks_per_gpu > 1 < model_parallel:
            raise UserError(
                f"--tasks_per_gpu={self.tasks_per_gpu} trains each run on one GPU, but "
                f"model_parallel={model_parallel} needs several. Leave one of the two out."
            )
        found = found.shared(self.tasks_per_gpu)
        return scheduler.run(sweep, tasks, found, lambda task: [sys.executable, *task.arguments])
