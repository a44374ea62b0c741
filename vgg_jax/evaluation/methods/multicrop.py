"""Multi-crop evaluation: the net is applied to a grid of crops and their flips (§3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from vgg_jax.evaluation.inference import Inference, PaddedImages, SizesPx
from vgg_jax.evaluation.method import Method, Probabilities

GRID = 5
CROPS = 2 * GRID**2  # An image at one scale gives a 5x5 grid and the flips.

Crops = UInt8[Array, "n crop_px crop_px 3"]


def cut_crops(images: PaddedImages, sizes: SizesPx, crop_px: int) -> Crops:
    """Cuts the 5x5 grid of crops, corner to corner, and their flips out of each image (§3.2).

    Returns:
      50 crops of each image, one image after the other.
    """

    def crops_of(image: UInt8[Array, "h w 3"], size: Int[Array, "2"]) -> Array:
        places = jnp.arange(GRID)[:, None] * (size - crop_px)[None, :] / (GRID - 1)
        top, left = jnp.rint(places).astype(jnp.int32).T

        def cut(i: Int[Array, ""], j: Int[Array, ""]) -> Array:
            return jax.lax.dynamic_slice(image, (top[i], left[j], 0), (crop_px, crop_px, 3))

        grid = jax.vmap(cut)(*jnp.divmod(jnp.arange(GRID**2), GRID))
        return jnp.concatenate([grid, grid[:, :, ::-1]])

    return jax.vmap(crops_of)(images, sizes).reshape(-1, crop_px, crop_px, 3)


def crops_for(inference: Inference, images: PaddedImages, sizes: SizesPx) -> Crops:
    """Cuts the crops that a net takes: see `cut_crops`."""
    return cut_crops(images, sizes, inference.model.crop_px)


def posteriors(inference: Inference, crops: Crops) -> Probabilities:
    """Averages the posteriors of each image's 50 crops (§3.2).

    Args:
      inference: The net.
      crops: `cut_crops` of b = n / 50 images.
    """
    scores = inference.score_maps(crops)[:, 0, 0]
    return jax.nn.softmax(scores).reshape(-1, CROPS, scores.shape[-1]).mean(axis=1)


def compute(inference: Inference, images: jax.Array, sizes: jax.Array) -> jax.Array:
    """Computes posteriors of a batch; see `Method.compute`."""
    # Two programs: the net's is the same whatever the images' size.
    crops = inference.call(crops_for, images, sizes, split=True)
    return inference.call(posteriors, crops)


METHOD = Method(
    name="multicrop",
    image_px=lambda height, width, crop_px: CROPS * crop_px**2,
    fills_evenly=False,
    compute=compute,
)
