"""A net's class scores and features as functions of images that JAX can transform."""

import functools
import warnings
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Key

from vgg_jax.errors import UserError, require
from vgg_jax.evaluation.inference import Inference
from vgg_jax.nets.architectures import FC_FEATURES

_LARGEST_NORMALISED = 10  # Pixels minus a mean, over a deviation, lie within about 3 of 0.

_shapes_looked_at: set[tuple[int, ...]] = set()


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
    is_list = isinstance(names, Iterable) and not isinstance(names, str)
    names = [*names] if is_list else names
    require(
        is_list and all(isinstance(name, str) for name in names),
        f"The names of features are a list: ['fc7'], not {names!r}.",
    )
    if {*names} & {*FC_FEATURES}:
        inference.require_fc_layers()
    computed = _features(inference, jnp.asarray(images), tuple(names))
    return {name: computed[name] for name in names}  # `jit` has sorted them.


def check_dropout_key(dropout_key: Key[Array, ""] | None) -> None:
    """Checks that there is one key for a batch's dropout.

    Raises:
      UserError: There is none or several, or a seed in its place.
    """
    try:
        jax.eval_shape(jax.random.split, dropout_key)
    except (TypeError, ValueError) as error:
        raise UserError(
            "train=True needs dropout_key, for instance jax.random.key(0): one key for the batch."
        ) from error


def _check_images(images: Array | np.ndarray) -> None:
    """Checks that images are a batch of RGB. Their dtype and shape are known under `jit` too.

    Raises:
      UserError: They have another dtype or shape.
    """
    dtype, shape = getattr(images, "dtype", np.dtype(object)), np.shape(images)
    is_pixels = dtype == np.uint8 or jnp.issubdtype(dtype, jnp.floating)
    if not is_pixels or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise UserError(
            f"The images are {dtype} of shape {shape}. Give an array of "
            "RGB of 0-255, uint8 or float, of shape (b, h, w, 3). For a single image, that is "
            "image[None]."
        )
    if dtype != np.uint8 and _is_worth_a_look(images):
        # An operation of JAX would be traced, also if only what surrounds this call is.
        _warn_of_other_range(np.asarray(images)[0])  # Those of a batch were prepared alike.


def _is_worth_a_look(images: Array | np.ndarray) -> bool:
    """Returns whether the values of images are at hand, and looking at them costs little.

    Looking at a device's array waits for what computes it, so that steps no longer overlap. The
    first batch of a shape waits anyway, for its program to be compiled.
    """
    if not isinstance(images, jax.Array):
        return True
    # A tracer has no values, and an array over several hosts has some of them elsewhere.
    if isinstance(images, jax.core.Tracer) or not images.is_fully_addressable:
        return False
    is_new = images.shape not in _shapes_looked_at
    _shapes_looked_at.add(images.shape)
    return is_new


def _warn_of_other_range(image: np.ndarray) -> None:
    low, high = float(image.min()), float(image.max())
    if 0 <= low < high <= 1 or (low < 0 and high <= _LARGEST_NORMALISED):
        warnings.warn(
            f"The first image's values lie between {low:.3g} and {high:.3g}, but the net takes RGB "
            "of 0-255, and subtracts the mean itself. Multiply images of 0-1 by 255, and undo any "
            "other normalisation.",
            stacklevel=5,
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
    inference: Inference, images: Array, names: tuple[str, ...]
) -> dict[str, Float32[Array, "b ..."]]:
    with jax.default_matmul_precision(inference.precision):
        return inference.model.apply(
            {"params": inference.params}, inference.normalise(images), names, method="features"
        )
