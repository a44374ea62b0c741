"""3x3 convolutions by Winograd's algorithm, which takes a quarter of the multiplications.

F(4x4, 3x3) of Lavin & Gray 2016 ("Fast Algorithms for Convolutional Neural Networks"): a tile of
4x4 outputs follows from 6x6 inputs. The tile and the kernel each become 36 values per channel, for
which the convolution is 36 matrix products. The transforms are matrix products too: as sums of
slices they were no faster, and XLA took a second to compile each layer.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vgg_jax.nets import plain_convolution

_OUT, _IN = 4, 6  # The sides of a tile of outputs, and of the inputs that it follows from.
# Rounding errors depend on the points. With 512 channels, their root mean square is 1.8e-6 of that
# of the outputs, with 0, 1, -1, 2 and -2 instead 3.9e-6, and that of the plain sums 2.9e-7.
_POINTS = (0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
# Measured with the sizes of net D on two cores of an AMD EPYC, with 1 MB of L2 cache for each. The
# first two are for one of a kernel's nine pixels. With fewer weights, the transforms of inputs and
# outputs take as long as the products save. With fewer multiplications, that of the kernel does.
_LEAST_WEIGHTS = 64 * 128
_LEAST_MULTIPLICATIONS = 2**26
# With fewer tiles at a time, unless there are more channels, the products are too small. With more,
# the tiles don't stay in the caches.
_TILES_AT_A_TIME = 256


def suits(x: tuple[Any, ...], kernel: tuple[int, ...]) -> bool:
    """Tells whether `conv` takes Winograd's algorithm for these shapes, where it runs on a CPU.

    Args:
      x: (b, h, w, i). The sizes of an export may be symbols, from which no blocks follow.
      kernel: (k, k, i, o).
    """
    # Several devices would exchange their parts of the kernel's gradient for each block of tiles.
    if kernel[:2] != (3, 3) or jax.device_count() > 1:
        return False
    if not all(isinstance(size, int) for size in x):
        return False
    b, h, w, _ = x
    tiles = -(-h // _OUT) * -(-w // _OUT)
    # Half of a tile's outputs lie outside an image of 2 x 4 px.
    if h * w <= 8 * tiles:
        return False
    weights = math.prod(kernel[2:])
    return weights >= _LEAST_WEIGHTS and b * h * w * weights >= _LEAST_MULTIPLICATIONS


@jax.custom_vjp
def conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h w o"]:
    """Convolves with stride 1 and zero padding that keeps the size, as `layers.conv` does.

    On CPUs it takes Winograd's algorithm, and so do its gradients; elsewhere the plain sums.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_conv, default=_plain)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(*kept, g, cpu=_gradients, default=_plain_gradients)


conv.defvjp(_forward, _backward)


def _plain(x: Array, kernel: Array) -> Array:
    return plain_convolution.conv(x, kernel, "SAME")


def _plain_gradients(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    return jax.vjp(_plain, x, kernel)[1](g)


def _gradients(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    # The gradient of x is a convolution with the kernel turned by 180 degrees.
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _conv(g, turned), _kernel_gradient(x, g)


def _conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h w o"]:
    (b, h, w, channels), features = x.shape, kernel.shape[-1]
    blocks = _Blocks.of(b, h, w, min(channels, features))
    x = blocks.padded(x, border=1)
    kernels = _transformed(_KERNEL, kernel).reshape(_IN * _IN, channels, features)

    def write(index: Array, y: Array) -> Array:
        products = blocks.transformed(_INPUTS, x, index) @ kernels
        tiles = _transformed(_OUTPUTS, products)
        tiles = tiles.reshape(_OUT, _OUT, blocks.images, blocks.rows, blocks.columns, features)
        part = tiles.transpose(2, 3, 0, 4, 1, 5)
        part = part.reshape(blocks.images, blocks.rows * _OUT, blocks.columns * _OUT, features)
        return jax.lax.dynamic_update_slice(y, part, blocks.start(index))

    y = jnp.zeros((b, *blocks.size, features), x.dtype)
    return jax.lax.fori_loop(0, blocks.count, write, y)[:, :h, :w]


def _kernel_gradient(
    x: Float[Array, "b h w i"], g: Float[Array, "b h w o"]
) -> Float[Array, "3 3 i o"]:
    (b, h, w, channels), features = x.shape, g.shape[-1]
    blocks = _Blocks.of(b, h, w, min(channels, features))
    x, g = blocks.padded(x, border=1), blocks.padded(g, border=0)

    def add(index: Array, total: Array) -> Array:
        inputs = blocks.transformed(_INPUTS, x, index)
        return total + inputs.swapaxes(1, 2) @ blocks.transformed(_OUTPUTS.T, g, index)

    total = jnp.zeros((_IN * _IN, channels, features), x.dtype)
    total = jax.lax.fori_loop(0, blocks.count, add, total)
    return _transformed(_KERNEL.T, total).reshape(3, 3, channels, features)


class _Blocks(NamedTuple):
    """How a layer is divided into blocks of tiles, which are computed one after the other.

    Attributes:
      images: Images per block.
      rows: Rows of tiles per block.
      columns: Columns of tiles. A block has all of them.
      row_blocks: Blocks of the same images.
      count: All blocks.
    """

    images: int
    rows: int
    columns: int
    row_blocks: int
    count: int

    @classmethod
    def of(cls, b: int, h: int, w: int, channels: int) -> "_Blocks":
        tiles = max(_TILES_AT_A_TIME, channels)
        rows, columns = -(-h // _OUT), -(-w // _OUT)
        divisors = [n for n in range(1, b + 1) if b % n == 0]
        images = max(n for n in divisors if n == 1 or n * columns <= tiles)
        if images * rows * columns < tiles / 4:  # For example one of 131 images.
            images = min((n for n in divisors if n > images), default=images)
        row_blocks = -(-rows // max(1, tiles // (images * columns)))
        return cls(images, -(-rows // row_blocks), columns, row_blocks, b // images * row_blocks)

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of the layer in whole tiles, in px."""
        return self.rows * self.row_blocks * _OUT, self.columns * _OUT

    def padded(self, x: Array, border: int) -> Array:
        """Returns x in whole tiles, with a border of zeros around them, in px."""
        bottom, right = np.subtract(self.size, x.shape[1:3]) + border
        return jnp.pad(x, ((0, 0), (border, bottom), (border, right), (0, 0)))

    def start(self, index: Array) -> tuple[Array | int, ...]:
        """Returns where a block begins in a padded array."""
        image = index // self.row_blocks * self.images
        return image, index % self.row_blocks * self.rows * _OUT, 0, 0

    def transformed(self, matrix: np.ndarray, x: Array, index: Array) -> Float[Array, "36 tiles c"]:
        """Applies a matrix to the tiles of a block, whose pixels are its columns."""
        side = math.isqrt(matrix.shape[1])
        image, top, _, _ = self.start(index)
        height, width = (self.rows - 1) * _OUT + 1, (self.columns - 1) * _OUT + 1

        def pixels(place: Array) -> Array:
            start = image, top + place // side, place % side, 0
            part = jax.lax.dynamic_slice(x, start, (self.images, height, width, x.shape[-1]))
            return part[:, ::_OUT, ::_OUT]

        tiles = jax.lax.map(pixels, jnp.arange(side * side))
        return _transformed(matrix, tiles).reshape(len(matrix), -1, x.shape[-1])


def _transformed(matrix: np.ndarray, values: Array) -> Array:
    return jnp.asarray(matrix) @ values.reshape(matrix.shape[1], -1)


def _matrices() -> tuple[
    Float[np.ndarray, "16 36"], Float[np.ndarray, "36 9"], Float[np.ndarray, "36 36"]
]:
    """Returns the transforms of outputs, kernel and inputs, by the algorithm of Toom and Cook.

    Their rows and columns are the pixels of flattened tiles.
    """
    outputs, kernel, inputs = np.zeros((_OUT, _IN)), np.zeros((_IN, 3)), np.zeros((_IN, _IN))
    for i, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        outputs[:, i] = np.power(point, range(_OUT))
        kernel[i] = np.power(point, range(3)) / np.prod(np.subtract(point, others))
        inputs[i, :-1] = np.poly(others)[::-1]
    outputs[-1, -1] = kernel[-1, -1] = 1  # The last point is infinity.
    inputs[-1] = np.poly(_POINTS)[::-1]
    of_outputs, of_kernel, of_inputs = (
        np.kron(each, each).astype(np.float32) for each in (outputs, kernel, inputs)
    )
    return of_outputs, of_kernel, of_inputs


_OUTPUTS, _KERNEL, _INPUTS = _matrices()
