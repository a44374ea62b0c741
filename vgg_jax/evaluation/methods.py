"""How the paper tests a net, on the device: dense and multi-crop evaluation (§3.2).

Images come rescaled to Q, as uint8 RGB, each in the upper left corner of its place in the batch.
Posteriors of scales and nets are averaged later: see `vgg_jax.evaluation.posteriors`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from vgg_jax.nets import layers
from vgg_jax.nets.vgg import VGG, Params

GRID = 5
CROPS = 2 * GRID**2  # An image and a scale: a 5x5 grid and the flips.

Images = UInt8[Array, "b h w 3"]
Sizes = Int[Array, "b 2"]  # Height and width of each, px.
Posteriors = Float[Array, "b k"]
Normalise = Callable[[UInt8[Array, "n h w 3"]], Float[Array, "n h w 3"]]


def pool_score_map(
    scores: Float[Array, "b h w k"], cells: Int[Array, "b 2"]
) -> Float[Array, "b k"]:
    """Averages each class score map over its valid cells (§3.2: sum-pooling).

    Args:
      scores: Unnormalised class scores.
      cells: Height and width of the valid part of each map: `VGG.score_cells`.
    """
    sums = layers.mask(scores, cells).sum(axis=(1, 2))
    return sums / cells.prod(axis=1, keepdims=True)


def flip_valid(images: Images, sizes: Sizes) -> Images:
    """Flips each image horizontally within its own width; it stays in the upper left corner."""
    roll = jax.vmap(lambda image, width: jnp.roll(image, width - image.shape[1], axis=1))
    return roll(images[:, :, ::-1], sizes[:, 1])


def score_maps(
    model: VGG, params: Params, images: Images, sizes: Sizes, normalise: Normalise
) -> Float[Array, "b h2 w2 k"]:
    """Applies the fully convolutional net to whole images; `VGG.score_cells` are valid (§3.2)."""
    # The mean is subtracted before the net masks: padding is then zero to the first convolution.
    return model.apply({"params": params}, normalise(images), sizes=sizes)


def dense(
    model: VGG, params: Params, images: Images, sizes: Sizes, normalise: Normalise
) -> Posteriors:
    """Computes posteriors of whole images (§3.2).

    The class score map is averaged over its cells, then softmax; the posteriors of the image and
    its horizontal flip are averaged.

    Args:
      model: The net.
      params: Its parameters.
      images: Padded on the right and below with anything.
      sizes: What of them is image, at least the crop.
      normalise: See `pixels.normalise`.
    """
    b = images.shape[0]
    # An image and its flip stay neighbours, and so on one device.
    both = jnp.stack([images, flip_valid(images, sizes)], axis=1).reshape(2 * b, *images.shape[1:])
    sizes = jnp.repeat(sizes, 2, axis=0)
    maps = score_maps(model, params, both, sizes, normalise)
    posteriors = jax.nn.softmax(pool_score_map(maps, model.score_cells(sizes)))
    return posteriors.reshape(b, 2, -1).mean(axis=1)


def cut_crops(images: Images, sizes: Sizes, crop_px: int) -> UInt8[Array, "n crop_px crop_px 3"]:
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


def multicrop(
    model: VGG,
    params: Params,
    crops: UInt8[Array, "n crop_px crop_px 3"],
    normalise: Normalise,
) -> Posteriors:
    """Averages the posteriors of each image's 50 crops (§3.2).

    Args:
      model: The net.
      params: Its parameters.
      crops: `cut_crops` of b = n / 50 images.
      normalise: See `pixels.normalise`.
    """
    scores = model.apply({"params": params}, normalise(crops))[:, 0, 0]
    return jax.nn.softmax(scores).reshape(-1, CROPS, scores.shape[-1]).mean(axis=1)
