"""A photo, and where in it a net sees some classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vgg_jax import safe_text

_SIDE_PX = 800  # The longer side of the photo in a panel.
_PANEL_INCHES = 3.4
_UNSEEN = 0.4  # The brightness of the parts of the photo where a class isn't seen.
_LABEL_MARGIN = 0.06  # The least distance of a label from the edge, as a share of the longer side.
_OUTLINED = (patheffects.withStroke(linewidth=2.5, foreground="black", alpha=0.6),)


def figure(
    image: UInt8[np.ndarray, "h w 3"],
    maps: Float[np.ndarray, "h2 w2 k"],
    titles: Sequence[str],
    *,
    heading: str = "image",
) -> Figure:
    """Returns a panel with the photo, and a panel for each class with its map over the photo.

    The photo keeps its colours where a class is seen, and is dark and grey where it isn't.
    Contours show the probability in percent. All panels have the same scale.

    Args:
      image: RGB, 0-255, any size.
      maps: The probability of each class around each pixel: see `class_maps.around_pixels`. They
        cover the whole image, at another resolution.
      titles: A title for each class.
      heading: The title of the photo.
    """
    enlarged = _SIDE_PX / max(image.shape[:2])
    height, width = (max(1, round(side * enlarged)) for side in image.shape[:2])
    photo = _resized(Image.fromarray(image), width, height)
    panel = _PANEL_INCHES * np.array([width, height]) / _SIDE_PX
    figure = Figure(
        figsize=((1 + len(titles)) * panel[0] + 0.3, panel[1] + 0.6), layout="constrained"
    )
    first, *others = figure.subplots(1, 1 + len(titles))
    first.imshow(photo)
    first.set_title(heading)
    for axes, of_class, title in zip(others, np.moveaxis(maps, -1, 0), titles, strict=True):
        smooth = _resized(Image.fromarray(of_class.astype(np.float32)), width, height)
        _draw(axes, photo, smooth, float(maps.max()))
        axes.set_title(safe_text.printable(title), parse_math=False)
    for axes in (first, *others):
        axes.set_axis_off()
    figure.supxlabel("Contours: the probability of the class around each pixel.", fontsize=8)
    return figure


def lit(
    photo: UInt8[np.ndarray, "h w 3"], seen: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a photo in its colours where `seen` is 1 or more, and dark and grey where it is 0."""
    seen = np.clip(seen, 0, 1)[..., None]
    unseen = _UNSEEN * photo.mean(axis=2, keepdims=True)
    return (seen * photo + (1 - seen) * unseen).astype(np.uint8)


def _resized(image: Image.Image, width: int, height: int) -> np.ndarray:
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _draw(
    axes: Axes,
    photo: UInt8[np.ndarray, "h w 3"],
    probability: Float[np.ndarray, "h w"],
    highest: float,
) -> None:
    # The root, because the eye takes half the brightness for much more than half.
    axes.imshow(lit(photo, np.sqrt(np.maximum(probability / highest, 0))))
    levels = MaxNLocator(nbins=4).tick_values(0, highest)[1:]
    if probability.max() > levels[0]:
        contours = axes.contour(probability, levels, colors="white", linewidths=1)
        contours.set_path_effects(_OUTLINED)
        for label in axes.clabel(
            contours, fmt=lambda p: f"{100 * p:g}%", fontsize=8, manual=_lowest(contours)
        ):
            label.set_path_effects(_OUTLINED)


def _lowest(contours: QuadContourSet) -> list[tuple[float, float]]:
    """Returns the lowest point of each contour that isn't near the photo's edge, for its label."""
    width, height = contours.axes.get_xlim()[1], contours.axes.get_ylim()[0]
    points = []
    for path in contours.get_paths():
        x, y = path.vertices.T
        margin = np.min([x, width - x, y, height - y], axis=0)
        inside = path.vertices[margin > _LABEL_MARGIN * max(width, height)]
        if len(inside):
            points.append(tuple(inside[inside[:, 1].argmax()]))
    return points
