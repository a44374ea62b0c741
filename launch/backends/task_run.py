"""How a task stands while a sweep goes on: what the scheduler changes and the progress shows."""

import dataclasses
import enum
import subprocess

from launch.plan.task import Task


class State(enum.Enum):
    """How a task stands.

    A task is blocked by another that failed. One that was stopped before it was done waits again.
    """

    WAITS = "waits"
    RUNS = "runs"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclasses.dataclass
class TaskRun:
    """A task, and how it stands.

    Attributes:
      task: What is to be done.
      state: See `State`.
      devices: The names of the devices that it has.
      process: Its process, once it runs.
      began_s, ended_s: Times on the monotonic clock.
      is_asked_to_stop: Whether it was sent the signal to save and end.
    """

    task: Task
    state: State = State.WAITS
    devices: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    began_s: float = 0.0
    ended_s: float = 0.0
    is_asked_to_stop: bool = False
