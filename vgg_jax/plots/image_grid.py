"""A grid of images with titles."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from vgg_jax import safe_text

_MOST_COLUMNS = 6
_INCHES = 1.9  # The width of a cell.


def figure(images: Sequence[UInt8[np.ndarray, "h w 3"]], titles: Sequence[str]) -> Figure:
    """Returns a grid of images, each below its title.

    Args:
      images: RGB, 0-255, of any sizes. Each fills its cell as far as its proportions allow.
      titles: A text of one or several lines for each image.
    """
    columns = min(_MOST_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    lines = max(title.count("\n") + 1 for title in titles)
    height = _INCHES + 0.16 * lines
    figure = Figure(figsize=(columns * _INCHES, rows * height), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, title in zip(cells, images, titles, strict=False):
        axes.imshow(image)
        axes.set_title(safe_text.lines(title), fontsize=8, parse_math=False)
        axes.set_anchor("N")  # The titles of a row stand at one height.
    return figure
