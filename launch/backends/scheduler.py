"""Runs a graph of tasks on this machine: each as soon as what it waits for is done.

A task that fails stops those that wait for it, and no other. GPUs train one run after the other,
each on all that are free; a CPU's cores are shared out among the tasks that can start.
"""

import contextlib
import ctypes
import dataclasses
import enum
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from launch.backends.devices import Devices, most
from launch.backends.progress import Overview
from launch.plan import finished
from launch.plan.graph import Sweep, Task, config_of
from vgg_jax.errors import UserError
from vgg_jax.system import signals

POLL_S = 0.2
WAIT_S = 60.0  # For the runs of a sweep that was killed to save.
_PR_SET_PDEATHSIG = 1


class State(enum.Enum):
    """Of a task. One is blocked by another that failed, or that ended before it was done."""

    WAITS = "waits"
    RUNS = "runs"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclasses.dataclass
class Job:
    """A task, and how it stands.

    Attributes:
      task: What is to be done.
      state: See `State`.
      devices: Names of those that it has.
      process: Once it runs.
      began_s, ended_s: On the monotonic clock.
    """

    task: Task
    state: State = State.WAITS
    devices: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    began_s: float = 0.0
    ended_s: float = 0.0


def run(
    sweep: Sweep,
    tasks: Sequence[Task],
    devices: Devices | None,
    command: Callable[[Task], Sequence[str]],
) -> list[Task]:
    """Runs what is missing of a sweep.

    Args:
      sweep: Whose tasks they are; one process at a time runs them.
      tasks: See `graph.tasks`.
      devices: What trains and evaluates here; None where that is done elsewhere.
      command: Of a task that trains or evaluates. Fusions run here.

    Returns:
      The tasks that failed.

    Raises:
      UserError: Another sweep is at work there.
      StoppedError: A signal asked it to stop; the runs have saved.
    """
    with locked(sweep.here) as lock_fd:
        sweep.save()
        return _Scheduler(tasks, devices, command, lock_fd).run()


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[int]:
    """Holds a sweep's folder for this process and those that inherit the file descriptor it gives.

    Raises:
      UserError: Another sweep is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".sweep.lock").open("w") as file:
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until_s:
                    raise UserError(
                        f"Another sweep is at work in {folder}, or a run that it left behind. "
                        "Wait until it has ended, or choose another --root."
                    ) from error
            time.sleep(0.5)
        yield file.fileno()


class _Scheduler:
    def __init__(
        self,
        tasks: Sequence[Task],
        devices: Devices | None,
        command: Callable[[Task], Sequence[str]],
        lock_fd: int,
    ) -> None:
        self._tasks, self._devices, self._command = tasks, devices, command
        self._lock_fd = lock_fd  # Each process holds on to it.
        already = finished.done(tasks)
        self.jobs = {
            task.name: Job(task, State.DONE if task.name in already else State.WAITS)
            for task in tasks
        }
        self._free = list(devices.names) if devices else []
        self._signals: list[int] = []

    def run(self) -> list[Task]:
        before = {
            number: signal.signal(number, lambda number, _: self._signals.append(number))
            for number in signals.EXIT_STATUS
        }
        try:
            with Overview(self.jobs) as overview:
                while self._step():
                    overview.refresh()
                    time.sleep(POLL_S)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._signals:
            went_on = (
                "what ran has saved" if self._devices else "what was launched goes on elsewhere"
            )
            raise signals.StoppedError(
                self._signals[0], f"Stopped; {went_on}, and the same command goes on."
            )
        return [job.task for job in self.jobs.values() if job.state is State.FAILED]

    def _step(self) -> bool:
        running = [job for job in self.jobs.values() if job.state is State.RUNS]
        for job in running:
            if job.process.poll() is not None:
                self._end(job)
        self._block()
        if self._signals:
            self._stop(running)
        else:
            self._start_ready()
        return any(job.state is State.RUNS for job in self.jobs.values())

    def _end(self, job: Job) -> None:
        well = job.process.returncode == 0
        if well and finished.is_done(job.task, self._tasks):
            job.state = State.DONE
        else:  # A run that was asked to stop ends well too, without its result.
            job.state = State.WAITS if self._signals else State.FAILED
        job.ended_s = time.monotonic()
        self._free += job.devices

    def _block(self) -> None:
        for job in self.jobs.values():  # In the order of the graph.
            states = [self.jobs[name].state for name in job.task.waits_for]
            if job.state is State.WAITS and {State.FAILED, State.BLOCKED} & {*states}:
                job.state = State.BLOCKED

    def _start_ready(self) -> None:
        ready = [
            job
            for job in self.jobs.values()
            if job.state is State.WAITS
            and all(self.jobs[name].state is State.DONE for name in job.task.waits_for)
        ]
        # Those first that the longest chain waits for.
        ready.sort(key=lambda job: -self._height(job.task.name))
        on_devices = [job for job in ready if job.task.kind != "fuse"]
        for job in ready:
            if job.task.kind == "fuse" or self._devices is None:
                self._start(job, 0)
            elif self._free:
                count = self._share(job.task, len(on_devices))
                on_devices.remove(job)
                if count:
                    self._start(job, count)

    def _share(self, task: Task, num_ready: int) -> int:
        """Returns how many devices a task gets now; none where it has to wait for more."""
        if self._devices.kind != "gpu":
            return max(1, len(self._free) // num_ready)
        if task.kind == "evaluate":
            return 1
        # Runs one after the other on all GPUs keep them busy to the end of the longest chain;
        # beside one another they would leave most of them idle there.
        c = config_of(task.arguments)
        return most(
            len(self._free), [c.batch_size // c.micro_batches, c.eval.batch_size], c.model_parallel
        )

    def _height(self, name: str) -> int:
        above = [job.task.name for job in self.jobs.values() if name in job.task.waits_for]
        own = 10 if self.jobs[name].task.kind == "train" else 1
        return own + max(map(self._height, above), default=0)

    def _start(self, job: Job, count: int) -> None:
        job.devices, self._free = tuple(self._free[:count]), self._free[count:]
        bound = dataclasses.replace(self._devices or Devices("core", ()), names=job.devices)
        is_fusion = job.task.kind == "fuse"
        command = [sys.executable, *job.task.arguments] if is_fusion else self._command(job.task)
        # Seconds between lines of a progress bar: logs are no terminals.
        environment = {"TQDM_MININTERVAL": "5", **os.environ, **bound.environment()}
        job.task.log.parent.mkdir(parents=True, exist_ok=True)
        sweep_pid = os.getpid()
        with job.task.log.open("a") as log:
            print(f"\n$ {job.task.command}", file=log, flush=True)
            job.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is passed on below.
                pass_fds=[self._lock_fd],
                preexec_fn=lambda: _prepare(bound, sweep_pid),
            )
        job.state, job.began_s = State.RUNS, time.monotonic()

    def _stop(self, running: Sequence[Job]) -> None:
        again = len(self._signals) > 1 and self._signals[-1] == signal.SIGINT
        for job in running:
            if job.state is State.RUNS and (again or not job.ended_s):
                job.process.send_signal(signal.SIGKILL if again else signal.SIGTERM)
                job.ended_s = time.monotonic()  # Asked once.


def _prepare(devices: Devices, sweep_pid: int) -> None:
    devices.bind()
    # Should the sweep be killed, its runs save and end. Until exec this process would handle the
    # signal as the sweep does, and forget it; and a sweep that is killed already sends none.
    for number in signals.EXIT_STATUS:
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != sweep_pid:
        os.kill(os.getpid(), signal.SIGTERM)
