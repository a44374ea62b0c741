"""A net's class scores and features as functions of images that JAX can transform."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Key

from vgg_jax.errors import UserError
from vgg_jax.evaluation.inference import Inference
from vgg_jax.nets.architectures import FC_FEATURES


def logits(
    inference: Inference, images: Array | np.ndarray, dropout_key: Key[Array, ""] | None
) -> Float32[Array, "b c"]:
    """Averages each image's class score map over its cells (§3.2).

    Args:
      inference: The net.
      images: (b, h, w, 3) RGB of 0-255, uint8 or float, at least as large as the crop.
      dropout_key: The key from which each image's dropout masks are drawn; None for no dropout.

    Raises:
      UserError: The images have another dtype or shape, or are too small.
    """
    inference.require_fc_layers()
    _check_images(images)
    return _logits(inference, jnp.asarray(images), dropout_key)


def features(
    inference: Inference, images: Array | np.ndarray, names: Sequence[str]
) -> dict[str, Float32[Array, "b ..."]]:
    """Computes named features, in the order of the names: see `VGG.features`.

    Args:
      inference: The net.
      images: See `logits`, but of the sizes that `VGG.features` takes.
      names: See `VGG.features`.

    Raises:
      UserError: The images have another dtype or shape, or `VGG.features` refuses the arguments.
    """
    _check_images(images)
    names = names if isinstance(names, str) else tuple(names)
    if {*names} & {*FC_FEATURES}:
        inference.require_fc_layers()
    computed = _features(inference, jnp.asarray(images), names)
    return {name: computed[name] for name in names}  # `jit` has sorted them.


def _check_images(images: Array | np.ndarray) -> None:
    """Checks that images are a batch of RGB. Their dtype and shape are known under `jit` too.

    Raises:
      UserError: They have another dtype or shape.
    """
    dtype, shape = getattr(images, "dtype", np.dtype(object)), np.shape(images)
    is_pixels = dtype == np.uint8 or jnp.issubdtype(dtype, jnp.floating)
    if not is_pixels or len(shape) != 4 or shape[-1] != 3:
        raise UserError(
            f"The images are {dtype} of shape {shape}. Give an array of "
            "RGB of 0-255, uint8 or float, of shape (b, h, w, 3). For a single image, that is "
            "image[None]."
        )


@jax.jit
def _logits(
    inference: Inference, images: Array, dropout_key: Key[Array, ""] | None
) -> Float32[Array, "b c"]:
    keys = None if dropout_key is None else jax.random.split(dropout_key, images.shape[0])
    with jax.default_matmul_precision(inference.precision):
        maps = inference.model.apply(
            {"params": inference.params}, inference.normalise(images), keys
        )
    return maps.mean(axis=(1, 2))


@functools.partial(jax.jit, static_argnames="names")
def _features(
    inference: Inference, images: Array, names: tuple[str, ...] | str
) -> dict[str, Float32[Array, "b ..."]]:
    with jax.default_matmul_precision(inference.precision):
        return inference.model.apply(
            {"params": inference.params}, inference.normalise(images), names, method="features"
        )
