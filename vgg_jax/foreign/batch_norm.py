"""Folds batch norm into the convolution before it, whose kernel and bias then do the same."""

import dataclasses

import numpy as np
from jaxtyping import Float

from vgg_jax.errors import UserError
from vgg_jax.foreign.net import LayerArrays


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Batch norm after training: (x - mean) / sqrt(variance + epsilon) * scale + shift.

    Attributes:
      mean, variance: The running statistics of each channel.
      scale, shift: The trained factor and summand of each channel.
      epsilon: What keeps the divisor above 0.
    """

    mean: Float[np.ndarray, " o"]
    variance: Float[np.ndarray, " o"]
    scale: Float[np.ndarray, " o"]
    shift: Float[np.ndarray, " o"]
    epsilon: float


def fold(
    kernel: Float[np.ndarray, "h w i o"], bias: Float[np.ndarray, " o"], norm: BatchNorm
) -> LayerArrays:
    """Computes the kernel and the bias of a convolution with batch norm, in float64.

    Returns:
      {"kernel": HWIO, "bias": O}, rounded to float32.

    Raises:
      UserError: A variance is negative.
    """
    variance = norm.variance.astype(np.float64) + norm.epsilon
    if not (variance > 0).all():
        raise UserError("These weights have a batch norm with a negative variance.")
    factor = norm.scale / np.sqrt(variance)
    shifted = (bias.astype(np.float64) - norm.mean) * factor + norm.shift
    return {
        "kernel": (kernel * factor).astype(np.float32),
        "bias": shifted.astype(np.float32),
    }
