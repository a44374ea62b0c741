"""Convolutions of images of few channels, such as conv1_1, several pixels at a time."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from vgg_jax.nets import plain_convolution

MOST_PIXELS = 4  # On GPUs.
_PIXELS_ON_CPU = 2


def suits(x: tuple[Any, ...], kernel: tuple[int, ...]) -> bool:
    """Tells whether pixels of these shapes can be packed, and have few enough channels for it.

    Args:
      x: (b, h, w, i). The sizes of an export may be symbols, of which it isn't known what divides
        them.
      kernel: (k, k, i, o).
    """
    return x[3] < 8 and isinstance(x[2], int) and x[2] % 2 == 0 and kernel[0] % 2 == 1


def conv(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h w o"]:
    """Convolves with stride 1 and zero padding that keeps the size, as `layers.conv` does.

    Up to `MOST_PIXELS` neighbouring pixels of a row, if they divide it, count as the channels of
    one pixel. The kernel, of which a part is then zero, gives all their outputs at once. The sums
    are the same except for rounding.

    cuDNN pads channels to a multiple of 8, so that three fill its tiles badly. On an H200, with 256
    images of 224 px in bfloat16, conv1_1 took 2.14 ms and its kernel's gradient 3.80 ms. With four
    pixels at a time they took 1.23 ms and 1.22 ms. With two, they took 1.96 ms and 0.89 ms; with
    eight, 1.33 ms and 1.04 ms; a matrix product of patches took 2.32 ms and 2.26 ms.

    Args:
      x: Images. Only in their width may pixels be packed.
      kernel: HWIO weights, of odd sizes up to 2 * `MOST_PIXELS` + 1.
    """
    b, h, w, channels = x.shape
    pixels, reach = math.gcd(w, MOST_PIXELS), kernel.shape[1] // 2
    groups = 1 + 2 * -(-reach // pixels)  # The group itself, and those that the kernel reaches.
    # Output j lies at pixel j of the middle group, so the kernel begins `reach` pixels before it.
    packed = _packed(kernel, pixels, groups, first=groups // 2 * pixels - reach)
    x = x.reshape(b, h, w // pixels, pixels * channels)
    return plain_convolution.conv(x, packed, "SAME").reshape(b, h, w, kernel.shape[-1])


def conv_on_cpu(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Convolves as `conv` does, but the groups of pixels begin where the kernel begins.

    Fewer groups are needed then. On two cores of an AMD EPYC in float32, conv1_1 took 2.7 instead
    of 4.3 ms (16 features, 32 images of 64 px) and 20 instead of 24 ms (64 features, 8 images of
    224 px). With four pixels at a time it took 2.2 and 25 ms.

    Args:
      x: Images.
      kernel: HWIO weights, of odd sizes.
    """
    b, h, w, channels = x.shape
    pixels, reach = math.gcd(w, _PIXELS_ON_CPU), kernel.shape[1] // 2
    groups = -(-(pixels + 2 * reach) // pixels)
    after = (groups - 1) * pixels - reach
    x = jnp.pad(x, ((0, 0), (reach, reach), (reach, after), (0, 0)))
    x = x.reshape(b, h + 2 * reach, -1, pixels * channels)
    y = plain_convolution.conv(x, _packed(kernel, pixels, groups, first=0), "VALID")
    return y.reshape(b, h, w, kernel.shape[-1])


def _packed(
    kernel: Float[Array, "k k i o"], pixels: int, groups: int, first: int
) -> Float[Array, "k k2 i2 o2"]:
    """Returns the kernel that maps groups of pixels to a group of outputs.

    Args:
      kernel: HWIO weights.
      pixels: Pixels of a group.
      groups: How many groups a group of outputs follows from.
      first: The first pixel of them that its first output follows from.
    """
    rows, columns, channels, features = kernel.shape
    after = groups * pixels - columns - first
    for_each = [
        jnp.pad(kernel, ((0, 0), (first + j, after - j), (0, 0), (0, 0))) for j in range(pixels)
    ]
    return jnp.stack(for_each, axis=3).reshape(rows, groups, pixels * channels, pixels * features)
