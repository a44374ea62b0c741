"""Progress of long work: a bar on a terminal, and a plain line now and then anywhere else."""

import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

_FIRST_S = 10.0  # Before the first plain line, which says how long the work takes.
_EVERY_S = 30.0  # Between two plain lines, if a hundredth of the work was done meanwhile,
_AT_MOST_S = 300.0  # and otherwise.


def bar(
    total: int, unit: str, description: str, *, done: int = 0, disable: bool = False
) -> "Bar | PlainLines":
    """Returns an object that shows progress on stderr. Close it, or use it in `with`.

    It has tqdm's `n`, `update`, `set_postfix_str`, `write` and `close`, and also `say`,
    `begin_clock` and `set_left`.

    Args:
      total: The amount of work.
      unit: What is counted, in the plural: "steps" or "images".
      description: What is being done, for example "training".
      done: The work that was done before.
      disable: Whether to show nothing.
    """
    # A notebook shows bars, though it is no terminal.
    if disable or sys.stderr.isatty() or "ipykernel" in sys.modules:
        return Bar(
            desc=description,
            total=total,
            initial=done,
            unit=f" {unit}",
            disable=disable,
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]",
        )
    return PlainLines(total, unit, description, done)


def interval(seconds: int | float) -> str:
    """Returns a time as text: 1:02:03, or 02:03."""
    return tqdm.format_interval(max(0, round(seconds)))


class Bar(tqdm):
    """A bar on a terminal or in a notebook."""

    _left_s: float | None = None

    def say(self, text: str) -> None:
        """Shows at the bar's end what is being done, for example "compiling"."""
        self.set_postfix_str(text)

    def begin_clock(self, count: int) -> None:
        """Adds to the work that is done, and measures the speed without the time until now.

        A first step, for example, also compiles.
        """
        if self.disable:
            return
        self.n += count
        self.initial = self.last_print_n = self.n
        self.start_t = self.last_print_t = self._time()
        self.refresh()

    def set_left(self, seconds: int | float) -> None:
        """Sets how long the rest takes. By default all units take the same time."""
        self._left_s = seconds

    @property
    def format_dict(self) -> dict[str, Any]:
        """What `bar_format` is filled with: tqdm's values and `left`."""
        values = super().format_dict
        done, rate = self.n - self.initial, values["rate"]
        left_s = self._left_s
        if left_s is None and done and self.total is not None:
            rate = rate or done / max(values["elapsed"], 1e-9)
            left_s = (self.total - self.n) / rate
        return values | {"left": "?" if left_s is None else interval(left_s)}


class PlainLines:
    """Progress for pipes and log files, where a bar would be one endless line."""

    def __init__(self, total: int, unit: str, description: str, done: int) -> None:
        self.n, self._total, self._unit, self._description = done, total, unit, description
        self._begin, self._begin_s = done, time.monotonic()
        self._shown, self._shown_s, self._postfix = done, self._begin_s, ""
        self._is_first, self._left_s = True, None

    def say(self, text: str) -> None:
        """Prints what is being done, for example "compiling"."""
        self.write(f"{self._description}: {text}")

    def begin_clock(self, count: int) -> None:
        """See `Bar.begin_clock`."""
        self.n += count
        self._begin, self._begin_s = self.n, time.monotonic()

    def set_left(self, seconds: int | float) -> None:
        """Sets how long the rest takes. By default all units take the same time."""
        self._left_s = seconds

    def update(self, count: int = 1) -> None:
        """Adds to the work that is done, and prints a line if it is time."""
        self.n += count
        now_s = time.monotonic()
        if self._is_first:
            is_due = self.n > self._begin and now_s - self._begin_s >= _FIRST_S
        else:
            is_more = (self.n - self._shown) * 100 >= self._total
            is_due = now_s - self._shown_s >= (_EVERY_S if is_more else _AT_MOST_S)
        if is_due:
            self.write(self._line())
            self._is_first, self._shown, self._shown_s = False, self.n, now_s

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Sets the end of the following lines; `refresh` is tqdm's."""
        del refresh
        self._postfix = text

    def write(self, text: str) -> None:
        """Prints a text."""
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Does nothing."""

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> str:
        line = f"{self._description}: {self.n:,} of {self._total:,} {self._unit}"
        done, left_s = self.n - self._begin, self._left_s
        if left_s is None and done:
            left_s = (self._total - self.n) * (time.monotonic() - self._begin_s) / done
        if left_s is not None:
            line += f", {interval(left_s)} left"
        return f"{line}, {self._postfix}" if self._postfix else line
