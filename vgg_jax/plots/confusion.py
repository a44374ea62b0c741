"""A confusion matrix."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes

from vgg_jax import safe_text

_MOST_NUMBERS = 20  # Beyond so many classes, the cells are too small for their numbers.


def draw(axes: Axes, matrix: Int[np.ndarray, "c c"], names: Sequence[str]) -> None:
    """Draws a cell for each pair of classes: the darker, the larger the share of its row.

    Args:
      axes: The panel, a square.
      matrix: Numbers of images by true class (row) and predicted class (column).
      names: The classes' names.
    """
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap="Blues", vmin=0)
    places = np.arange(len(names))
    names = [safe_text.printable(name) for name in names]
    axes.set_xticks(places, names, rotation=90, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.6 * shares.max() else "black"
                axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    axes.figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02, label="share of the class, %")
