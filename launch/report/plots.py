"""One-line plots of the paper's figure and ours, as inline SVG that is as wide as its cell.

A diamond is the paper's figure. A dot is ours, with a bar for its interval or spread. Positions are
in percent of the width, so nothing is distorted or too small to read, however narrow the page is.
"""

import dataclasses
import html
import math
from collections.abc import Iterable

from launch.report.document import Pair
from launch.report.estimates import number, uncertainty

_MARGIN = 0.05  # Room for the marks at each end, as a share of the width.
_MAX_STEPS = 4  # The most steps between ticks on an axis.
_DIAMOND = '<path class="theirs" d="M0-5.5 5.5 0 0 5.5-5.5 0z"/>'


@dataclasses.dataclass(frozen=True)
class Axis:
    """The axis that the plots of a column share.

    Attributes:
      low, high: The ends of the axis, as errors or differences of errors in percent.
      ticks: Round values between the ends.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, pairs: Iterable[Pair], *, with_zero: bool) -> "Axis":
        """Returns an axis on which all figures and their bars fit.

        Args:
          pairs: All figures of the column.
          with_zero: Whether the axis must include 0.
        """
        values = [0.0] if with_zero else []
        for pair in pairs:
            values += [] if pair.paper is None else [pair.paper]
            values += pair.ours.range if pair.ours else ()
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high - low < 1:  # The paper gives tenths, so a shorter axis would show nothing more.
            low, high = (low + high - 1) / 2, (low + high + 1) / 2
        step = next(
            step
            for exponent in range(-1, 3)
            for step in (10.0**exponent, 2 * 10.0**exponent, 5 * 10.0**exponent)
            if high - low <= _MAX_STEPS * step
        )
        ticks = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return cls(low, high, tuple(round(tick * step, 6) for tick in ticks))

    def place(self, value: float) -> str:
        """Returns the position of a value on the axis, as an SVG percentage."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * (_MARGIN + share * (1 - 2 * _MARGIN)):.2f}%"


def scale(axis: Axis) -> str:
    """Returns the numbers at the ticks, shown above a column of plots, as SVG."""
    digits = 1 if any(tick % 1 for tick in axis.ticks) else 0
    labels = (
        f'<text x="{axis.place(tick)}" y="12">{_minus(number(tick, digits=digits))}</text>'
        for tick in axis.ticks
    )
    return f'<svg class="scale" aria-hidden="true">{"".join(labels)}</svg>'


def pair(axis: Axis, shown: Pair, *, seeds: int, signed: bool) -> str:
    """Returns the plot of the paper's figure and ours, as SVG.

    Args:
      axis: The axis that the plots of the column share.
      shown: The figures. If both are missing, the plot has no marks.
      seeds: How many seeds there should be, for the plot's title.
      signed: Whether the figures are differences.
    """
    marks = [
        f'<line class="{"grid" if tick or not signed else "zero"}" x1="{axis.place(tick)}" '
        f'x2="{axis.place(tick)}" y1="0" y2="100%"/>'
        for tick in axis.ticks
    ]
    texts = []
    if shown.paper is not None:
        texts.append(f"paper {number(shown.paper, digits=1, signed=signed)}")
    if shown.ours is not None:
        texts.append(f"ours {number(shown.ours.mean, signed=signed)}")
        texts += uncertainty(shown.ours, seeds, signed=signed)
        low, high = shown.ours.range
        marks.append(_line("range", axis, low, high))
        if shown.paper is not None:
            marks.append(_line("gap", axis, shown.paper, shown.ours.mean))
        marks.append(f'<circle class="ours" cx="{axis.place(shown.ours.mean)}" cy="50%" r="4"/>')
    if shown.paper is not None:
        place = axis.place(shown.paper)
        marks.append(f'<svg x="{place}" y="50%" overflow="visible">{_DIAMOND}</svg>')
    title = html.escape(", ".join(texts))
    return f'<svg class="plot" role="img"><title>{title}</title>{"".join(marks)}</svg>'


def key() -> str:
    """Returns the key to the marks, as HTML."""
    return (
        '<span class="key"><svg class="mark" viewBox="-7 -7 14 14" aria-hidden="true">'
        f"{_DIAMOND}</svg> the paper</span> "
        '<span class="key"><svg class="mark" viewBox="-7 -7 14 14" aria-hidden="true">'
        '<line class="range" x1="-7" x2="7" y1="0" y2="0"/><circle class="ours" r="4"/></svg>'
        " ours</span>"
    )


def _line(name: str, axis: Axis, low: float, high: float) -> str:
    return (
        f'<line class="{name}" x1="{axis.place(low)}" x2="{axis.place(high)}" y1="50%" y2="50%"/>'
    )


def _minus(text: str) -> str:
    return text.replace("-", "&minus;")
