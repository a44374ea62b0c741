"""Runs a graph of tasks from this machine, each as soon as those that it waits for are done.

A task that fails blocks those that wait for it, and no others. GPUs train one run after another,
each on all that are free; a CPU's cores are shared out among the tasks that can start.
"""

import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Sequence

from launch.backends import task_process
from launch.backends.devices import Devices, most
from launch.backends.progress import Progress
from launch.backends.sweep_lock import locked
from launch.backends.task_run import State, TaskRun
from launch.plan import finished
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.system import signals

POLL_S = 0.2


def run(
    sweep: Sweep,
    tasks: Sequence[Task],
    devices: Devices | None,
    command: Callable[[Task], Sequence[str]],
) -> list[Task]:
    """Runs the tasks of a sweep that aren't done.

    Args:
      sweep: The settings of the sweep. Its folder is locked until this function returns.
      tasks: All tasks, each after those that it waits for.
      devices: The devices that train and evaluate; None if that is done on other machines.
      command: Returns the command of a task that trains or evaluates. Fusions run here.

    Returns:
      The tasks that failed.

    Raises:
      UserError: Another sweep is running in that root.
      StoppedError: A signal asked the sweep to stop. Its processes have ended, and the runs on this
        machine have saved.
    """
    with locked(sweep.local_folder) as lock_fd:
        sweep.save()
        return _Scheduler(tasks, devices, command, lock_fd).run()


class _Scheduler:
    def __init__(
        self,
        tasks: Sequence[Task],
        devices: Devices | None,
        command: Callable[[Task], Sequence[str]],
        lock_fd: int | None,
    ) -> None:
        self._by_name = {task.name: task for task in tasks}
        self._devices, self._command = devices, command
        self._lock_fd = lock_fd
        done = finished.done(tasks)
        self._runs = {
            task.name: TaskRun(task, State.DONE if task.name in done else State.WAITS)
            for task in tasks
        }
        self._free = list(devices.names) if devices else []
        self._signals: list[int] = []

    def run(self) -> list[Task]:
        before = {
            number: signal.signal(number, lambda number, _: self._signals.append(number))
            for number in signals.handled()
        }
        try:
            with Progress(self._runs) as progress:
                while self._step():
                    progress.refresh()
                    time.sleep(POLL_S)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._signals:
            went_on = (
                "the runs have saved" if self._devices else "the launched jobs go on elsewhere"
            )
            raise signals.StoppedError(
                self._signals[0], f"Stopped; {went_on}, and the same command continues."
            )
        return [run.task for run in self._in_state(State.FAILED)]

    def _in_state(self, state: State) -> list[TaskRun]:
        return [run for run in self._runs.values() if run.state is state]

    def _step(self) -> bool:
        """Updates the states, and starts or stops tasks; returns False once no task runs."""
        for run in self._in_state(State.RUNS):
            if run.process.poll() is not None:
                self._end(run)
        self._block()
        if self._signals:
            self._stop()
        else:
            self._start_ready()
        return bool(self._in_state(State.RUNS))

    def _end(self, run: TaskRun) -> None:
        well = run.process.returncode == 0
        if well and finished.is_done(run.task, self._by_name):
            run.state = State.DONE
        else:  # A run that was asked to stop exits with status 0 too, but leaves no result.
            run.state = State.WAITS if self._signals else State.FAILED
        run.ended_s = time.monotonic()
        self._free += run.devices

    def _block(self) -> None:
        # Each task comes after those that it waits for, so one pass blocks whole chains.
        for run in self._in_state(State.WAITS):
            states = {self._runs[name].state for name in run.task.waits_for}
            if {State.FAILED, State.BLOCKED} & states:
                run.state = State.BLOCKED

    def _start_ready(self) -> None:
        ready = [
            run
            for run in self._in_state(State.WAITS)
            if all(self._runs[name].state is State.DONE for name in run.task.waits_for)
        ]
        # The tasks that begin the longest chains start first.
        ready.sort(key=lambda run: self._height(run.task.name), reverse=True)
        num_on_devices = sum(run.task.kind != "fuse" for run in ready)
        for run in ready:
            if run.task.kind == "fuse" or self._devices is None:
                self._start(run, 0)
            elif self._free:
                count = self._share(run.task, num_on_devices)
                num_on_devices -= 1
                if count:
                    self._start(run, count)

    def _share(self, task: Task, num_ready: int) -> int:
        """Returns how many devices a task gets now; 0 if it must wait for more."""
        if self._devices.kind != "gpu":
            return max(1, len(self._free) // num_ready)
        if task.kind == "evaluate" or self._devices.tasks_per_gpu > 1:
            return 1
        # Runs that train one after another, each on all GPUs, keep all GPUs busy until the longest
        # chain ends. Runs side by side would leave most GPUs idle near its end.
        c = task.config()
        return most(
            len(self._free), [c.batch_size // c.micro_batches, c.eval.batch_size], c.model_parallel
        )

    def _height(self, name: str) -> int:
        """Returns the length of the longest chain that begins with a task.

        A training run counts 10, an evaluation or a fusion 1.
        """
        above = [run.task.name for run in self._runs.values() if name in run.task.waits_for]
        own = 10 if self._runs[name].task.kind == "train" else 1
        return own + max(map(self._height, above), default=0)

    def _start(self, run: TaskRun, count: int) -> None:
        run.devices, self._free = tuple(self._free[:count]), self._free[count:]
        bound = dataclasses.replace(self._devices or Devices("core", ()), names=run.devices)
        is_fusion = run.task.kind == "fuse"
        command = [sys.executable, *run.task.arguments] if is_fusion else self._command(run.task)
        run.process = task_process.start(run.task, command, bound, self._lock_fd)
        run.state, run.began_s = State.RUNS, time.monotonic()

    def _stop(self) -> None:
        """Asks each task once to save and end; kills all at a second Ctrl-C."""
        is_second = len(self._signals) > 1 and self._signals[-1] == signal.SIGINT
        for run in self._in_state(State.RUNS):
            if is_second:
                run.process.kill()
            elif not run.is_asked_to_stop:
                run.process.terminate()
                run.is_asked_to_stop = True
