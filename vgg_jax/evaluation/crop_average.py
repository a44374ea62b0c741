"""Methods that apply a net to some crops of each image and average their posteriors (§3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from vgg_jax.errors import require
from vgg_jax.evaluation.inference import Inference, PaddedImages, SizesPx
from vgg_jax.evaluation.method import Method, Probabilities

# The place of each crop: its offsets from the top and from the left, as fractions of the largest
# offsets at which it lies in the image. (0, 0) is the upper left corner, (0.5, 0.5) the centre and
# (1, 1) the lower right corner.
Places = tuple[tuple[float, float], ...]
Crops = UInt8[Array, "n crop_px crop_px 3"]


def method(places: Places) -> Method:
    """Returns the method that averages the posteriors of crops at some places and of their flips.

    An offset halfway between two pixels is rounded to the even one.
    """
    places = tuple((float(top), float(left)) for top, left in places)
    require(
        all(0 <= part <= 1 for place in places for part in place),
        f"The places of crops, {places}, must be pairs of numbers from 0 to 1.",
    )
    flips_too = 2 * len(places)

    def compute(inference: Inference, images: jax.Array, sizes: jax.Array) -> jax.Array:
        # There are two programs, so that one program of the net serves images of all sizes.
        crops = inference.call(crops_for, images, sizes, split=True, places=places)
        return inference.call(posteriors, crops, crops_an_image=flips_too)

    return Method(
        image_px=lambda height, width, crop_px: flips_too * crop_px**2,
        fills_evenly=False,
        compute=compute,
    )


def cut_crops(images: PaddedImages, sizes: SizesPx, crop_px: int, places: Places) -> Crops:
    """Cuts crops out of each image.

    Returns:
      The crops of all images, one image after the other. The crops of an image are in the order of
      the places, followed by their flips.
    """

    def crops_of(image: UInt8[Array, "h w 3"], size: Int[Array, "2"]) -> Array:
        offsets = jnp.rint(jnp.array(places) * (size - crop_px)[None, :]).astype(jnp.int32)

        def cut(offset: Int[Array, "2"]) -> Array:
            return jax.lax.dynamic_slice(image, (*offset, 0), (crop_px, crop_px, 3))

        crops = jax.vmap(cut)(offsets)
        return jnp.concatenate([crops, crops[:, :, ::-1]])

    return jax.vmap(crops_of)(images, sizes).reshape(-1, crop_px, crop_px, 3)


def crops_for(
    inference: Inference, images: PaddedImages, sizes: SizesPx, *, places: Places
) -> Crops:
    """Cuts crops of the net's crop size: see `cut_crops`."""
    return cut_crops(images, sizes, inference.model.crop_px, places)


def posteriors(inference: Inference, crops: Crops, *, crops_an_image: int) -> Probabilities:
    """Averages the posteriors of each image's crops.

    Args:
      inference: The net.
      crops: The crops of b = n / crops_an_image images, in the order of `cut_crops`.
      crops_an_image: Number of crops per image, including the flips.
    """
    scores = inference.score_maps(crops)[:, 0, 0]
    return jax.nn.softmax(scores).reshape(-1, crops_an_image, scores.shape[-1]).mean(axis=1)
