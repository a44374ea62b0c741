"""Values with intervals, a row each: errors of classes or nets, differences of errors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from vgg_jax import safe_text


def draw(
    axes: Axes,
    values: Float[np.ndarray, " n"],
    intervals: Float[np.ndarray, "n 2"] | None,
    names: Sequence[str],
    *,
    colour: str = "C0",
    marker: str = "o",
    label: str = "",
    offset: float = 0.0,
) -> None:
    """Draws a row per value, the first on top: a dot, and a bar for its interval.

    A second call adds dots to the same rows.

    Args:
      axes: The panel, with about 0.2 inches of height per row.
      values: The values; NaN leaves a row empty.
      intervals: The low and the high end of each value's interval; None for no bars.
      names: The rows' names.
      colour, marker: The look of the dots.
      label: Their name in a legend.
      offset: How far below their rows the dots lie, as a share of a row. Dots of several calls then
        don't hide each other.
    """
    rows = np.arange(len(values))
    if intervals is not None:
        axes.hlines(rows + offset, *intervals.T, color=colour, alpha=0.35, linewidth=5)
    style = {"color": colour, "markersize": 5, "clip_on": False}  # The axes don't cut a dot at 0.
    axes.plot(values, rows + offset, marker, label=label or None, **style)
    axes.set_yticks(rows, [safe_text.printable(name) for name in names], parse_math=False)
    axes.set(ylim=(len(values) - 0.4, -0.6))
    axes.grid(axis="x", alpha=0.3)
