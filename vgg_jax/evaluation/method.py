"""The type of a method of evaluation."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from vgg_jax.evaluation.inference import Inference

Probabilities = Float[Array, "b k"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method that computes values of images rescaled to Q, in evaluation posteriors (§3.2).

    Attributes:
      image_px: Takes the height and width of an image and the side of the net's crop, in px.
        Returns the number of pixels that the image takes on the device, with its flips and crops.
      fills_evenly: `size_buckets.plan`'s `even`. If False, one program serves all computations
        that don't depend on the images' size.
      compute: Takes the net, a batch of uint8 RGB images, each in the upper left corner of its
        place, and their heights and widths. Returns a row of values per image, on every device. It
        calls `Inference.call` for each program.
    """

    image_px: Callable[[int, int, int], int]
    fills_evenly: bool
    compute: Callable[[Inference, jax.Array, jax.Array], jax.Array]
