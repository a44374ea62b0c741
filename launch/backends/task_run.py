"""The state of a task during a sweep. The scheduler changes it, and the progress shows it."""

import dataclasses
import enum
import subprocess

from launch.plan.task import Task


class State(enum.Enum):
    """The state of a task.

    A task is blocked if one that it waits for failed or is blocked. A task that was stopped before
    it was done waits again.
    """

    WAITS = "waits"
    RUNS = "runs"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclasses.dataclass
class TaskRun:
    """A task and its state.

    Attributes:
      task: The task.
      state: See `State`.
      devices: The names of the devices that it runs on; empty if it needs none here.
      process: Its process, once it was started.
      began_s, ended_s: When it began and ended, in seconds of the monotonic clock.
      is_asked_to_stop: Whether its process was sent the signal to save and end.
    """

    task: Task
    state: State = State.WAITS
    devices: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    began_s: float = 0.0
    ended_s: float = 0.0
    is_asked_to_stop: bool = False
