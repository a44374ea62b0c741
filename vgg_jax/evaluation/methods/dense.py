"""Dense evaluation: the net is applied to whole images and their flips (§3.2)."""

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from vgg_jax.evaluation.inference import Inference, PaddedImages, SizesPx
from vgg_jax.evaluation.method import Method, Probabilities
from vgg_jax.nets import layers


def pool_score_map(
    scores: Float[Array, "b h w k"], cells: Int[Array, "b 2"]
) -> Float[Array, "b k"]:
    """Averages each map, of class scores or features, over its valid cells (§3.2: sum-pooling).

    Args:
      scores: Unnormalised class scores, or the values of any layer.
      cells: Height and width of the valid part of each map, from `VGG.score_cells` or
        `VGG.feature_cells`.
    """
    sums = layers.mask(scores, cells).sum(axis=(1, 2))
    return sums / cells.prod(axis=1, keepdims=True)


def flip_valid(images: PaddedImages, sizes: SizesPx) -> PaddedImages:
    """Flips each image horizontally within its own width, so that it stays in its corner."""
    roll = jax.vmap(lambda image, width: jnp.roll(image, width - image.shape[1], axis=1))
    return roll(images[:, :, ::-1], sizes[:, 1])


def with_flips(
    images: PaddedImages, sizes: SizesPx
) -> tuple[UInt8[Array, "2*b h w 3"], Int[Array, "2*b 2"]]:
    """Returns each image followed by its flip, and the sizes of all."""
    # An image and its flip are neighbours, and so they stay on one device.
    both = jnp.stack([images, flip_valid(images, sizes)], axis=1)
    return both.reshape(-1, *images.shape[1:]), jnp.repeat(sizes, 2, axis=0)


def posteriors(inference: Inference, images: PaddedImages, sizes: SizesPx) -> Probabilities:
    """Computes posteriors of whole images (§3.2).

    The class score map is averaged over its cells and then goes through softmax. The posteriors of
    the image and its horizontal flip are averaged.

    Args:
      inference: The net.
      images: RGB, 0-255, padded on the right and below with any values.
      sizes: Height and width of the valid part of each image in px, at least the crop's.
    """
    both, sizes = with_flips(images, sizes)
    maps = inference.score_maps(both, sizes)
    of_each = jax.nn.softmax(pool_score_map(maps, inference.model.score_cells(sizes)))
    return of_each.reshape(len(images), 2, -1).mean(axis=1)


def whole_images(function: Callable[..., jax.Array], **settings: Hashable) -> Method:
    """Returns the method that computes a function of whole images and their flips.

    Args:
      function, settings: See `Inference.call`. The arrays are the images and their sizes.
    """
    return Method(
        image_px=lambda height, width, crop_px: 2 * height * width,
        fills_evenly=True,
        compute=lambda net, images, sizes: net.call(function, images, sizes, **settings),
    )


METHOD = whole_images(posteriors)
