"""A reliability curve: how often a net is right, against how sure it is (Guo et al. 2017)."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes


def draw(
    axes: Axes,
    edges: Float[np.ndarray, " b1"],
    counts: Int[np.ndarray, " b"],
    confidence: Float[np.ndarray, " b"],
    accuracy: Float[np.ndarray, " b"],
    intervals: Float[np.ndarray, "b 2"],
    *,
    title: str,
) -> None:
    """Draws a bar per bin for the share that is right, and the diagonal of perfect calibration.

    The opacity of a bar grows with its number of images, so that bins with few images are pale. A
    dot and a line at the mean confidence show the share again, and its interval.

    Args:
      axes: The panel, a square.
      edges: The ends of the bins, from 0 to 1.
      counts: The number of images in each bin.
      confidence: The mean confidence of each bin's images; NaN for an empty bin.
      accuracy: The share of each bin's images that are classified rightly; NaN for an empty bin.
      intervals: The low and the high end of each share's interval.
      title: The panel's title.
    """
    shown = counts > 0
    opacities = 0.1 + 0.5 * np.sqrt(counts[shown] / counts.max())
    axes.bar(
        edges[:-1][shown],
        accuracy[shown],
        np.diff(edges)[shown],
        align="edge",
        color=[("C0", opacity) for opacity in opacities],
        edgecolor="white",
    )
    axes.vlines(confidence[shown], *intervals[shown].T, color="C0", linewidth=1.2)
    axes.plot(confidence[shown], accuracy[shown], "o", color="C0", markersize=4.5, clip_on=False)
    axes.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.set(aspect="equal", title=title)
    axes.grid(alpha=0.3)
