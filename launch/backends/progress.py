"""What runs, waits, is done or failed, while a sweep goes on."""

import collections
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.backends.scheduler import Job

REFRESH_S = 1.0
_TAIL_BYTES = 4096


class Overview:
    """Redraws itself on a terminal; elsewhere it prints a line for each change."""

    def __init__(self, jobs: Mapping[str, "Job"]) -> None:
        """Shows the jobs, which change as they go."""
        self._jobs = jobs
        self._on_terminal = sys.stdout.isatty()
        self._shown = {name: job.state for name, job in jobs.items()}
        self._height, self._drawn_s, self._began_s = 0, 0.0, time.monotonic()

    def __enter__(self) -> "Overview":
        print(f"{self._counts()}", flush=True)
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
        changed = [job for name, job in self._jobs.items() if job.state is not self._shown[name]]
        if changed:
            self._draw([])
        blocked = [job.task.name for job in changed if job.state.value == "blocked"]
        changed.sort(key=lambda job: job.state.value == "runs")  # After what made room for them.
        for job in changed:
            name = job.task.name
            self._shown[name] = job.state
            if name in blocked:
                continue
            about = {
                "runs": f"on {', '.join(job.devices)}" if job.devices else "",
                "done": f"in {_time(job.ended_s - job.began_s)}",
                "failed": f"see {job.task.log}: {tail(job.task.log)}",
            }.get(job.state.value, "")
            passed = _time(time.monotonic() - self._began_s)
            print(f"{passed:>8}  {job.state.value:<8}{name:<24}  {about}".rstrip(), flush=True)
        if blocked:
            print(f"{'':10}blocked {', '.join(blocked)}", flush=True)

    def _running(self) -> list[str]:
        lines = [self._counts()]
        for name, job in self._jobs.items():
            if job.state.value == "runs":
                passed = _time(time.monotonic() - job.began_s)
                lines.append(f"{passed:>8}  {name:<24}  {tail(job.task.log)}")
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
        counts = collections.Counter(job.state.value for job in self._jobs.values())
        order = ("done", "runs", "waits", "failed", "blocked")
        return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])


def tail(log: os.PathLike) -> str:
    """Returns the last line of a log, or of a progress bar in it."""
    try:
        with open(log, "rb") as file:
            file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return lines[-1] if lines else ""


def _time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
