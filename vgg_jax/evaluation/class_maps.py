"""Maps of classes: the probability of a class around each pixel of an image."""

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vgg_jax.data import images
from vgg_jax.evaluation.trained_net import STRIDES_PX, TrainedNet


def around_pixels(
    net: TrainedNet,
    image: UInt8[np.ndarray, "h w 3"],
    classes: Int[np.ndarray, " k"],
    *,
    scale: int,
) -> Float[np.ndarray, "h2 w2 k"]:
    """Returns the probabilities of some classes around each pixel of the rescaled image.

    They are the softmax of the class score map (§3.2), spread over the windows of its cells. Its
    stride is the largest possible one of at most an eighth of the net's crop.

    Args:
      net: The net.
      image: RGB, 0-255, any size.
      classes: Class indices.
      scale: The test scale Q in px. At the net's crop, a square image has one window.
    """
    width, height = images.rescaled_size(Image.fromarray(image).size, scale)
    stride_px = next(px for px in STRIDES_PX if 8 * px <= net.model.crop_px)
    scores = net.score_map(image, scale=scale, stride_px=stride_px)
    maps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    maps /= maps.sum(axis=-1, keepdims=True)
    return spread(maps[..., classes], (height, width), net.model.crop_px, stride_px)


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
