"""Shows which tasks run, wait, are done or have failed during a sweep."""

import collections
import os
import shutil
import sys
import time
from collections.abc import Mapping

from launch.backends.task_run import State, TaskRun
from vgg_jax import safe_text

REFRESH_S = 1.0
_TAIL_BYTES = 4096
_PLURAL = {State.RUNS: "run", State.WAITS: "wait"}  # Those of other states are alike.


class Progress:
    """A display of the tasks: redrawn on a terminal, elsewhere a line per change."""

    def __init__(self, runs: Mapping[str, TaskRun]) -> None:
        """Makes a display of tasks, given by name. Their states change while it is shown."""
        self._runs = runs
        self._on_terminal = sys.stdout.isatty()
        self._shown = {name: run.state for name, run in runs.items()}
        self._height, self._drawn_s, self._began_s = 0, 0.0, time.monotonic()

    def __enter__(self) -> "Progress":
        print(self._counts(), flush=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.refresh(last=True)

    def refresh(self, *, last: bool = False) -> None:
        """Shows what has changed."""
        self._print_changes()
        now_s = time.monotonic()
        if self._on_terminal and (last or now_s - self._drawn_s >= REFRESH_S):
            self._drawn_s = now_s
            self._draw([] if last else self._running())
        if last:
            print(self._counts(), flush=True)

    def _print_changes(self) -> None:
        changed = [run for name, run in self._runs.items() if run.state is not self._shown[name]]
        if changed:
            self._draw([])
        self._shown |= {run.task.name: run.state for run in changed}
        blocked = [run.task.name for run in changed if run.state is State.BLOCKED]
        # Tasks that ended are shown before those that started in their place.
        changed.sort(key=lambda run: run.state is State.RUNS)
        passed = _time(time.monotonic() - self._began_s)
        for run in changed:
            if run.state is not State.BLOCKED:
                line = f"{passed:>8}  {run.state.value:<8}{run.task.name:<24}  {_about(run)}"
                print(line.rstrip(), flush=True)
        if blocked:
            print(f"{'':10}blocked {', '.join(blocked)}", flush=True)

    def _running(self) -> list[str]:
        lines = [self._counts()]
        for name, run in self._runs.items():
            if run.state is State.RUNS:
                passed = _time(time.monotonic() - run.began_s)
                lines.append(f"{passed:>8}  {name:<24}  {tail(run.task.log)}")
        return lines

    def _draw(self, lines: list[str]) -> None:
        if not self._on_terminal:
            return
        if self._height:
            print(f"\x1b[{self._height}F\x1b[J", end="")
        columns, rows = shutil.get_terminal_size()
        for line in lines[: rows - 1]:
            print(line[: columns - 1])
        self._height = min(len(lines), rows - 1)
        sys.stdout.flush()

    def _counts(self) -> str:
        counts = collections.Counter(run.state for run in self._runs.values())
        order = (State.DONE, State.RUNS, State.WAITS, State.FAILED, State.BLOCKED)
        return ", ".join(_counted(counts[state], state) for state in order if counts[state])


def _counted(number: int, state: State) -> str:
    return f"{number} {_PLURAL.get(state, state.value) if number > 1 else state.value}"


def tail(log: os.PathLike) -> str:
    """Returns the last line of a log that isn't empty; each redraw of a progress bar is a line."""
    try:
        with open(log, "rb") as file:
            file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return safe_text.printable(lines[-1]) if lines else ""


def _about(run: TaskRun) -> str:
    """Returns the details of a task's new state: its devices, its duration or its log."""
    match run.state:
        case State.RUNS if run.devices:
            return f"on {', '.join(run.devices)}"
        case State.DONE:
            return f"in {_time(run.ended_s - run.began_s)}"
        case State.FAILED:
            return f"see {run.task.log}: {tail(run.task.log)}"
    return ""


def _time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
