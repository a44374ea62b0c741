"""3x3 convolutions by Winograd's algorithm, which takes a quarter of the multiplications.

F(4x4, 3x3) of Lavin & Gray 2016 ("Fast Algorithms for Convolutional Neural Networks"): a tile of
4x4 outputs follows from 6x6 inputs. The tile and the kernel each become 36 values per channel, for
which the convolution is 36 matrix products. Rows are transformed first and then columns, as sums of
strided slices. As a product with a matrix of 36 x 36, the transform of inputs took 1.3 to 2.1 times
as long, and its gradient longer still.
"""

import math
from collections.abc import Callable
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
# Measured on two cores of AMD EPYCs, with 1 MB of L2 cache for each. A kernel's weights are those
# of one of its nine pixels. With fewer, the transforms of inputs and outputs take as long as the
# products save; there are fewer transforms in layers of one block, which keep their transformed
# inputs and kernel for the gradient. With fewer positions, the kernel's transform takes as long.
_LEAST_WEIGHTS, _LEAST_WEIGHTS_OF_ONE_BLOCK = 64 * 64, 16 * 32
_LEAST_POSITIONS = 256
# A layer takes 0.2 to 0.7 s longer to compile, which training repays. An evaluation may apply it to
# a few images of a size: above the limit it must apply it to 3 to 24 batches, below to 115 to 580.
_LEAST_MULTIPLICATIONS_OF_INFERENCE = 2**26
# Tiles times channels. With fewer, unless there are as many tiles as channels, the products are too
# small. With more, the tiles don't stay in the caches.
_COLUMNS_AT_A_TIME = 2**16


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
    _, h, w, _ = x
    tiles = -(-h // _OUT) * -(-w // _OUT)
    # Half of a tile's outputs lie outside an image of 2 x 4 px.
    if h * w <= 8 * tiles or math.prod(x[:3]) < _LEAST_POSITIONS:
        return False
    one_block = Blocks.of(x, kernel).count == 1
    least_weights = _LEAST_WEIGHTS_OF_ONE_BLOCK if one_block else _LEAST_WEIGHTS
    return math.prod(kernel[2:]) >= least_weights


@jax.custom_vjp
def conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h w o"]:
    """Convolves with stride 1 and zero padding that keeps the size, as `layers.conv` does.

    On CPUs it takes Winograd's algorithm, and so do its gradients; elsewhere the plain sums. Where
    no gradient is computed, layers of fewer than 2^26 multiplications for each of a kernel's nine
    pixels take the plain sums too.
    """
    if math.prod(x.shape) * kernel.shape[-1] < _LEAST_MULTIPLICATIONS_OF_INFERENCE:
        return _plain(x, kernel)
    return _by_platform(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    # JAX keeps the function of the gradients as the arrays that it needs.
    return jax.vjp(_by_platform, x, kernel)


def _backward(gradients: Callable[[Array], tuple[Array, Array]], g: Array) -> tuple[Array, Array]:
    return gradients(g)


conv.defvjp(_forward, _backward)


def _by_platform(x: Array, kernel: Array) -> Array:
    return jax.lax.platform_dependent(x, kernel, cpu=_conv, default=_plain)


def _plain(x: Array, kernel: Array) -> Array:
    return plain_convolution.conv(x, kernel, "SAME")


def _conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h w o"]:
    blocks = Blocks.of(x.shape, kernel.shape)
    if blocks.count > 1:
        y = _conv_in_blocks(x, kernel)
    else:
        # JAX keeps the transformed inputs and kernel for the gradients.
        y = _conv_tiles(blocks.padded(x), _transformed_kernel(kernel))
    return y[:, : x.shape[1], : x.shape[2]]


@jax.custom_vjp
def _conv_in_blocks(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b h2 w2 o"]:
    """Convolves one block after the other, and returns whole tiles."""
    blocks, kernels = Blocks.of(x.shape, kernel.shape), _transformed_kernel(kernel)
    padded = blocks.padded(x)

    def write(index: Array, y: Array) -> Array:
        block = _conv_tiles(blocks.part(padded, index, border=1), kernels)
        return jax.lax.dynamic_update_slice(y, block, blocks.start(index))

    y = jnp.zeros((len(x), *blocks.size, kernel.shape[-1]), x.dtype)
    return jax.lax.fori_loop(0, blocks.count, write, y)


def _in_blocks_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv_in_blocks(x, kernel), (x, kernel)


def _in_blocks_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    blocks = Blocks.of(x.shape, kernel.shape)
    kernels, kernel_gradient = jax.vjp(_transformed_kernel, kernel)
    padded = blocks.padded(x)

    def add(index: Array, total: tuple[Array, Array]) -> tuple[Array, Array]:
        part = blocks.part(padded, index, border=1)
        _, gradients = jax.vjp(_conv_tiles, part, kernels)
        of_part, of_kernels = gradients(blocks.part(g, index, border=0))
        of_part += blocks.part(total[0], index, border=1)
        of_x = jax.lax.dynamic_update_slice(total[0], of_part, blocks.start(index))
        return of_x, total[1] + of_kernels

    zeros = jnp.zeros_like(padded), jnp.zeros_like(kernels)
    of_x, of_kernels = jax.lax.fori_loop(0, blocks.count, add, zeros)
    return of_x[:, 1 : 1 + x.shape[1], : x.shape[2]], *kernel_gradient(of_kernels)


_conv_in_blocks.defvjp(_in_blocks_forward, _in_blocks_backward)


class Blocks(NamedTuple):
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
    def of(cls, x: tuple[int, ...], kernel: tuple[int, ...]) -> "Blocks":
        """Divides a layer, of the shapes that `suits` describes."""
        b, h, w, _ = x
        channels = min(kernel[2:])
        tiles = max(_COLUMNS_AT_A_TIME // channels, channels)
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

    def padded(self, x: Array) -> Array:
        """Returns x in whole tiles, with a border of one row of zeros above and below."""
        bottom, right = np.subtract(self.size, x.shape[1:3])
        return jnp.pad(x, ((0, 0), (1, bottom + 1), (0, right), (0, 0)))

    def start(self, index: Array) -> tuple[Array | int, ...]:
        """Returns where a block begins, in an array with its border or without."""
        image = index // self.row_blocks * self.images
        return image, index % self.row_blocks * self.rows * _OUT, 0, 0

    def part(self, x: Array, index: Array, border: int) -> Array:
        """Returns a block of whole tiles, with a border of so many rows above and below."""
        size = self.images, self.rows * _OUT + 2 * border, *x.shape[2:]
        return jax.lax.dynamic_slice(x, self.start(index), size)


@jax.jit  # So that JAX traces layers of the same shapes once.
def _conv_tiles(
    x: Float[Array, "b h w i"], kernels: Float[Array, "36 i o"]
) -> Float[Array, "b h2 w2 o"]:
    """Convolves images of whole tiles. The result lacks their border of a row above and below."""
    inputs = _tiles(_INPUTS, x)
    products = inputs.reshape(_IN * _IN, -1, x.shape[-1]) @ kernels
    return _outputs(products.reshape(*inputs.shape[:-1], -1))


def _tiles(matrix: np.ndarray, x: Float[Array, "b h w c"]) -> Float[Array, "6 6 b rows columns c"]:
    """Cuts images into tiles, and transforms the rows of each and then its columns.

    Args:
      matrix: (6, 4) for tiles of 4x4 px. With (6, 6), a tile has one more pixel on each side, which
        is zero left and right of the image.
      x: Images of whole tiles. With (6, 6), they have one more row above and one below.
    """
    rows = _product(matrix, _every_fourth(x, matrix.shape[1], axis=1))
    # Without the barrier, XLA would compute each row again for each of six columns.
    columns = _every_fourth(jax.lax.optimization_barrier(jnp.stack(rows)), _OUT, axis=3)
    if matrix.shape[1] == _IN:
        before, after = _shifted(columns[-1], 1, axis=3), _shifted(columns[0], -1, axis=3)
        columns = [before, *columns, after]
    return jnp.stack(_product(matrix, columns), axis=1)


def _image(products: Float[Array, "6 6 b rows columns c"]) -> Float[Array, "b h w c"]:
    """Transforms the columns of each tile and then its rows, and joins the tiles."""
    columns = _product(_OUTPUTS, [products[:, j] for j in range(_IN)])
    # Without the barrier, XLA would compute each column again for each of four rows.
    rows = _product(_OUTPUTS, list(jax.lax.optimization_barrier(_woven(columns, axis=3))))
    return _woven(rows, axis=1)


_outputs = jax.custom_vjp(_image)
# JAX's own gradient of it takes longer: the miniature E's whole step took 6% longer, A's 10%.
_outputs.defvjp(
    lambda products: (_image(products), None),
    lambda _, g: (_tiles(_OUTPUTS.T, g),),
)


def _product(matrix: np.ndarray, vector: list[Array]) -> list[Array]:
    """Multiplies a matrix by a vector of arrays."""

    def times(row: list[float]) -> Array:
        first, *others = (
            part if number == 1 else number * part
            for number, part in zip(row, vector, strict=True)
            if number
        )
        return sum(others, first)

    return [times(row) for row in matrix.tolist()]


def _every_fourth(x: Array, count: int, axis: int) -> list[Array]:
    """Returns the first of each four values, the second, and so on. Others may follow."""
    span = x.shape[axis] // _OUT * _OUT - _OUT + 1
    return [jax.lax.slice_in_dim(x, j, j + span, _OUT, axis) for j in range(count)]


def _woven(parts: list[Array], axis: int) -> Array:
    """Returns the array whose `_every_fourth` values these are."""
    x = jnp.stack(parts, axis + 1)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _shifted(x: Array, by: int, axis: int) -> Array:
    """Moves all values along an axis. Zeros follow them, and those at its end are left out."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)


def _transformed_kernel(kernel: Float[Array, "3 3 i o"]) -> Float[Array, "36 i o"]:
    kernels = jnp.asarray(_KERNEL) @ kernel.reshape(_KERNEL.shape[1], -1)
    return kernels.reshape(_IN * _IN, *kernel.shape[2:])


def _matrices() -> tuple[
    Float[np.ndarray, "4 6"], Float[np.ndarray, "36 9"], Float[np.ndarray, "6 6"]
]:
    """Returns the transforms of outputs, kernel and inputs, by the algorithm of Toom and Cook.

    That of the kernel takes the pixels of flattened kernels, the others rows or columns of tiles.
    """
    outputs, kernel, inputs = np.zeros((_OUT, _IN)), np.zeros((_IN, 3)), np.zeros((_IN, _IN))
    for i, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        outputs[:, i] = np.power(point, range(_OUT))
        kernel[i] = np.power(point, range(3)) / np.prod(np.subtract(point, others))
        inputs[i, :-1] = np.poly(others)[::-1]
    outputs[-1, -1] = kernel[-1, -1] = 1  # The last point is infinity.
    inputs[-1] = np.poly(_POINTS)[::-1]
    # Rounding turns 1e-16 into zeros, which are skipped, and makes ones exact.
    return (
        np.round(outputs, 12),
        np.kron(kernel, kernel).astype(np.float32),
        np.round(inputs, 12),
    )


_OUTPUTS, _KERNEL, _INPUTS = _matrices()
