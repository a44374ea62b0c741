"""XLA's own convolution, in the form that this package's kernels and activations have."""

import jax
from jaxtyping import Array, Float


def conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k2 i o"], padding: str
) -> Float[Array, "b h2 w2 o"]:
    """Convolves with stride 1: see `layers.conv`. The kernel's sides may differ."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
