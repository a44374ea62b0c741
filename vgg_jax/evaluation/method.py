"""What a method of evaluation is."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from vgg_jax.evaluation.inference import Inference

Probabilities = Float[Array, "b k"]


@dataclasses.dataclass(frozen=True)
class Method:
    """How the posteriors of images that were rescaled to Q are computed (§3.2).

    Attributes:
      image_px: Takes the height and width of an image and the side of the net's crop, px; returns
        how many pixels the image takes on the device, with its flips and crops.
      fills_evenly: See `size_buckets.plan`. False lets one program serve whatever doesn't depend on
        the images' size.
      compute: Takes the net, a batch of uint8 RGB images, each in the upper left corner of its
        place, and their heights and widths; returns their posteriors, on every device. It calls
        `Inference.call` for each program.
    """

    image_px: Callable[[int, int, int], int]
    fills_evenly: bool
    compute: Callable[[Inference, jax.Array, jax.Array], jax.Array]
