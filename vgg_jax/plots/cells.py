"""A map drawn as a table of cells, and frames around some of them."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle


def draw(
    axes: Axes,
    values: Float[np.ndarray, "h w"],
    title: str = "",
    *,
    cmap: str = "inferno",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Draws a map with the borders of its cells.

    Args:
      axes: The panel.
      values: The map. Cell (i, j) is the square of side 1 around x = j and y = i.
      title: The panel's title.
      cmap: The name of a Matplotlib colour map.
      limits: The values at its ends; None for the least and the largest value.
    """
    axes.imshow(values, cmap=cmap, vmin=limits[0], vmax=limits[1])
    axes.set(xticks=[], yticks=[], title=title)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.6", linewidth=0.5)
    axes.tick_params(which="minor", length=0)


def frame(
    axes: Axes,
    left: float,
    top: float,
    width: float,
    height: float | None = None,
    *,
    colour: str = "C9",
) -> None:
    """Draws a frame around some cells, or around a part of a photo.

    Args:
      axes: The panel.
      left, top: The frame's corner, in the panel's coordinates. The first cell begins at -0.5.
      width, height: Its sides; None for a square.
      colour: Its colour.
    """
    height = width if height is None else height
    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=3, zorder=3)
    )
