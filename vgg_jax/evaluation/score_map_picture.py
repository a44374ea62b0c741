"""Draws class score maps over their image."""

import pathlib

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from vgg_jax.data import images
from vgg_jax.evaluation import topk
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.storage import files

CLASSES = 3
SIDE_PX = 800  # The photo in a panel is at most this wide and high.
PANEL_INCHES = 3.4


def draw(
    net: TrainedNet,
    image: UInt8[np.ndarray, "h w 3"],
    posteriors: Float[np.ndarray, " c"],
    path: pathlib.Path,
    *,
    scale: int,
) -> None:
    """Draws an image, and a panel for each of its top classes that shows where the net sees it.

    Args:
      net: The net.
      image: RGB, 0-255, any size.
      posteriors: The image's posteriors, which choose the classes and stand in the panels' titles.
      path: The file of the picture, in a format that Matplotlib writes.
      scale: The test scale Q of the map, in px. At the net's crop, a square image has one window.
    """
    photo = Image.fromarray(image)
    width, height = images.rescaled_size(photo.size, scale)
    stride_px = max(1, 2 ** int(np.log2(net.model.crop_px / 8)))
    scores = net.score_map(image, scale=scale, stride_px=stride_px)
    maps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    maps /= maps.sum(axis=-1, keepdims=True)
    classes = topk.best(posteriors, CLASSES)
    seen = spread(maps[..., classes], (height, width), net.model.crop_px, stride_px)
    photo.thumbnail((SIDE_PX, SIDE_PX))
    panel = PANEL_INCHES * np.array(photo.size) / max(photo.size)
    panels = 1 + len(classes)
    figure = Figure(figsize=(panels * panel[0] + 1, panel[1] + 0.5), layout="constrained")
    axes = figure.subplots(1, panels)
    axes[0].imshow(photo)
    axes[0].set_title("image")
    heat = ScalarMappable(Normalize(0, float(seen.max())), "inferno")
    for of_class, k, probability in zip(axes[1:], classes, np.moveaxis(seen, -1, 0), strict=True):
        of_class.imshow(photo.convert("L"), cmap="gray", vmin=-128, vmax=255)
        opacity = 0.75 * np.sqrt(probability / seen.max())
        of_class.imshow(
            np.dstack([heat.to_rgba(probability)[..., :3], opacity]),
            extent=(-0.5, photo.width - 0.5, photo.height - 0.5, -0.5),
            interpolation="bilinear",
        )
        of_class.set_title(f"{net.class_names[k]} {posteriors[k]:.1%}")
    for each in axes:
        each.set_axis_off()
    bar = figure.colorbar(heat, ax=axes, fraction=0.04, pad=0.01)
    bar.set_label("probability around here")
    with files.written_aside(path) as aside:
        figure.savefig(aside, dpi=120, format=path.suffix[1:])


def spread(
    maps: Float[np.ndarray, "h w k"], size: tuple[int, int], window_px: int, stride_px: int
) -> Float[np.ndarray, "h2 w2 k"]:
    """Returns each pixel's mean over the windows that see it; a window weighs most in its middle.

    Args:
      maps: Probabilities of the windows (i, j), which begin at pixel (i, j) * stride_px.
      size: Height and width of the image, in px.
      window_px: Side of a window.
      stride_px: Distance from one window to the next.
    """
    # The weight is never zero, so that every pixel that a window sees has a value.
    bell = np.sin(np.pi * (np.arange(window_px) + 0.5) / window_px) ** 2
    weight = (bell[:, None] * bell)[:, :, None]
    total, weights = np.zeros((*size, maps.shape[-1])), np.zeros((*size, 1))
    for i, row in enumerate(maps):
        for j, values in enumerate(row):
            place = np.s_[
                i * stride_px : i * stride_px + window_px, j * stride_px : j * stride_px + window_px
            ]
            total[place] += weight * values
            weights[place] += weight
    # No window reaches the last rows and columns, fewer than a stride. They repeat the edge values.
    reached = [(n - 1) * stride_px + window_px for n in maps.shape[:2]]
    seen = total[: reached[0], : reached[1]] / weights[: reached[0], : reached[1]]
    return np.pad(seen, [(0, n - r) for n, r in zip(size, reached, strict=True)] + [(0, 0)], "edge")
