"""Progress of long work: a bar on a terminal, and a plain line now and then anywhere else."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

_EVERY_S = 30.0  # Between two plain lines, if a hundredth of the work was done meanwhile,
_AT_MOST_S = 300.0  # and otherwise.


def bar(
    total: int, unit: str, description: str, *, done: int = 0, disable: bool = False
) -> "tqdm | PlainLines":
    """Returns an object that shows progress on stderr. Close it, or use it in `with`.

    It has tqdm's `n`, `update`, `set_postfix_str`, `write` and `close`.

    Args:
      total: The amount of work.
      unit: What is counted, in the plural: "steps" or "images".
      description: What is being done, for example "training".
      done: The work that was done before.
      disable: Whether to show nothing.
    """
    # A notebook shows bars, though it is no terminal.
    if disable or sys.stderr.isatty() or "ipykernel" in sys.modules:
        return tqdm(
            desc=description,
            total=total,
            initial=done,
            unit=f" {unit}",
            disable=disable,
            dynamic_ncols=True,
            smoothing=0.05,
        )
    return PlainLines(total, unit, description, done)


class PlainLines:
    """Progress for pipes and log files, where a bar would be one endless line."""

    def __init__(self, total: int, unit: str, description: str, done: int) -> None:
        self.n, self._total, self._unit, self._description = done, total, unit, description
        self._begin, self._begin_s = done, time.monotonic()
        self._shown, self._shown_s, self._postfix = done, self._begin_s, ""

    def update(self, count: int = 1) -> None:
        """Adds to the work that is done, and prints a line if it is time."""
        self.n += count
        since_s = time.monotonic() - self._shown_s
        is_more = (self.n - self._shown) * 100 >= self._total
        if since_s >= (_EVERY_S if is_more else _AT_MOST_S):
            self.write(self._line())
            self._shown, self._shown_s = self.n, time.monotonic()

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
        done = self.n - self._begin
        if done:
            left_s = (self._total - self.n) * (time.monotonic() - self._begin_s) / done
            line += f", {tqdm.format_interval(left_s)} left"
        return f"{line}, {self._postfix}" if self._postfix else line
