"""A photo, and some channels of a net's layers for it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

_INCHES = 1.25  # The height of a map.
_LIGHT = 0.998  # A single value, at the rim for example, mustn't make all others dark.


def figure(
    image: UInt8[np.ndarray, "h w 3"], rows: Mapping[str, Float[np.ndarray, "h2 w2 k"]]
) -> Figure:
    """Returns the photo on the left, and beside it a row of maps for each layer.

    Each map has its own scale, from black for 0 to light yellow for the largest two of a thousand
    values.

    Args:
      image: RGB, 0-255, any size.
      rows: The maps of some channels after ReLU, by the text before their row. All rows have the
        same number k of maps.
    """
    height, width = image.shape[:2]
    map_width = _INCHES * width / height
    num_maps = max(maps.shape[-1] for maps in rows.values())
    photo_width = len(rows) * map_width if len(rows) < 4 else 2.5 * map_width
    figure = Figure(
        figsize=(photo_width + num_maps * map_width + 0.6, len(rows) * (_INCHES + 0.05)),
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    left, right = figure.subfigures(1, 2, width_ratios=(photo_width, num_maps * map_width + 0.6))
    photo = left.subplots()
    photo.imshow(image)
    photo.set_axis_off()
    panels = right.subplots(len(rows), num_maps, squeeze=False)
    for row, (text, maps) in zip(panels, rows.items(), strict=True):
        row[0].set_ylabel(text, fontsize=11)
        for axes, values in zip(row, np.moveaxis(maps, -1, 0), strict=True):
            largest = np.quantile(values, _LIGHT) or values.max() or 1.0
            axes.imshow(values, cmap="inferno", vmin=0, vmax=largest, aspect="auto")
            axes.set_box_aspect(height / width)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    return figure
