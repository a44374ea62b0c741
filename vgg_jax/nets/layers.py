"""The operations between a net's kernels: convolution, max-pooling, masks, LRN, dropout."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Key

from vgg_jax.nets import packed_convolution, plain_convolution, winograd

# LRN of Krizhevsky et al. 2012, whose parameters the paper uses (§2.1).
LRN_K, LRN_CHANNELS, LRN_ALPHA, LRN_BETA = 2.0, 5, 1e-4, 0.75


def conv(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k k i o"],
    padding: Literal["SAME", "VALID"],
) -> Float[Array, "b h2 w2 o"]:
    """Convolves with stride 1, without a bias, by the fastest algorithm for these arrays.

    Args:
      x: Activations.
      kernel: HWIO weights.
      padding: SAME pads with zeros to keep the size (§2.1); VALID is a fully connected layer
        applied at every position (§3.2).
    """
    if padding == "VALID" and x.shape[1:3] == kernel.shape[:2]:
        # For a single position, a matrix product gives the same sums and is faster.
        product = x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[-1])
        return product[:, None, None, :]
    if padding == "VALID":
        valid = functools.partial(plain_convolution.conv, padding="VALID")
        return jax.lax.platform_dependent(x, kernel, cuda=product_of_patches, default=valid)
    if x.dtype == jnp.float32 and winograd.suits(x.shape, kernel.shape):
        return winograd.conv(x, kernel)
    same = functools.partial(plain_convolution.conv, padding="SAME")
    if packed_convolution.suits(x.shape, kernel.shape):
        if x.dtype == jnp.bfloat16:
            return jax.lax.platform_dependent(x, kernel, cuda=packed_convolution.conv, default=same)
        # Several devices would exchange the gradient of the packed kernel, which is larger.
        if jax.device_count() == 1:
            on_cpu = packed_convolution.conv_on_cpu
            return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=same)
    return same(x, kernel)


def product_of_patches(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h2 w2 o"]:
    """Applies a fully connected layer at every position (§3.2), as one matrix product.

    The sums are those of a VALID convolution, except for their order.
    """
    rows, columns, _, features = kernel.shape
    h, w = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    parts = [x[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)]
    return jnp.tensordot(jnp.concatenate(parts, axis=-1), kernel.reshape(-1, features), axes=1)


@jax.custom_vjp
def biased_relu(
    x: Float[Array, "b h w c"], bias: Float32[Array, "1 1 1 c"]
) -> Float[Array, "b h w c"]:
    """Adds a bias and zeroes negative values.

    The backward pass uses the output, which the next convolution keeps anyway. That of JAX's own
    ReLU also keeps a mask of the input.
    """
    # With a bias of x's dtype, XLA for GPUs lets the convolution add it and zero what is negative.
    # On an H200, this took 1.94 instead of 2.98 ms (64 channels, 256 images of 224 px, bfloat16).
    return jnp.maximum(x + bias.astype(x.dtype), 0)


def _biased_relu_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    y = biased_relu(x, bias)
    return y, y


def _biased_relu_backward(y: Array, g: Array) -> tuple[Array, Array]:
    # Without the barrier, XLA for GPUs computed y again here from the convolution's sums, and kept
    # both these sums and y: net D took 11.2 GB for 256 images in bfloat16, instead of 6.7 GB.
    g = _computed_once(jnp.where(jax.lax.optimization_barrier(y) > 0, g, 0))
    # The bias's gradient is a sum over all positions of all images, and such a sum stops growing at
    # a few hundred in bfloat16.
    whole = functools.partial(jnp.sum, axis=(0, 1, 2), keepdims=True)
    of_bias = jax.lax.platform_dependent(g.astype(jnp.float32), cpu=_sum_by_columns, default=whole)
    return g, of_bias


def _computed_once(g: Array) -> Array:
    """Keeps XLA for CPUs from computing a gradient again, in another order, for each of its uses.

    Without it, the gradient of conv1_1's kernel took 5.6 ms on one core (16 features, 32 images of
    64 px), and a step of the miniature A 47 instead of 40 ms.
    """
    barrier = jax.lax.optimization_barrier
    return jax.lax.platform_dependent(g, cpu=barrier, default=lambda g: g)


def _sum_by_columns(g: Float32[Array, "b h w c"]) -> Float32[Array, "1 1 1 c"]:
    """Sums over all positions. As a single sum, XLA for CPUs computes it on one core.

    With the sum by columns and the barrier it took 0.2 instead of 1.1 ms (32 images of 64 px, 16
    channels) and 0.7 instead of 10.6 ms (8 images of 28 px, 512 channels).
    """
    columns = jax.lax.optimization_barrier(g.sum(1, keepdims=True))
    return columns.sum((0, 1, 2), keepdims=True)


biased_relu.defvjp(_biased_relu_forward, _biased_relu_backward)


@jax.custom_vjp
def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Takes the maximum of each 2x2 window with stride 2 (§2.1).

    An odd last row or column is left out. The maxima are taken of strided slices, because XLA's
    reduce_window and its gradient, select_and_scatter, take twice as long on a CPU. For the
    backward pass one byte per window is kept: which of the four values was the largest, or the
    first among equal ones. The gradient of jnp.maximum would keep one and a half times the input.
    """
    (a, b), (c, d) = _windows(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def pad_odd(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Pads odd heights and widths with -inf, so that `max_pool` leaves nothing out (ceil)."""
    return jnp.pad(
        x, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)], constant_values=-jnp.inf
    )


def mask(
    x: Float[Array, "b h w c"], sizes: Int[Array, "b 2"], outside: float = 0.0
) -> Float[Array, "b h w c"]:
    """Replaces the values outside each example's valid part (see `VGG.__call__`).

    Args:
      x: Activations.
      sizes: Heights and widths of the valid parts, which begin in the upper left corner.
      outside: The value that replaces them.
    """
    rows = jnp.arange(x.shape[1])[None, :] < sizes[:, :1]
    columns = jnp.arange(x.shape[2])[None, :] < sizes[:, 1:]
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], x, outside)


def zero_outside(
    x: Float[Array, "b h w c"], sizes: Int[Array, "b 2"], reach_px: int
) -> Float[Array, "b h w c"]:
    """Zeroes what a kernel at a valid place reads outside each example's valid part.

    The other values outside are zeroed on some platforms alone.

    Args:
      x: Activations.
      sizes: See `mask`.
      reach_px: How far the kernel reaches from its middle.
    """
    if not reach_px:
        return x
    strips = functools.partial(zero_strips, reach_px=reach_px)
    return jax.lax.platform_dependent(x, sizes, cuda=strips, default=mask)


def zero_strips(
    x: Float[Array, "b h w c"], sizes: Int[Array, "b 2"], *, reach_px: int
) -> Float[Array, "b h w c"]:
    """Zeroes the rows below each example's valid part, and the columns next to it.

    This is `zero_outside` on NVIDIA GPUs, where XLA does it in place. A mask reads and writes all
    activations between convolutions that otherwise apply their own bias and ReLU.
    """
    near = jnp.arange(reach_px)
    # Places beyond the array are left out.
    how = {"mode": "drop", "indices_are_sorted": True, "unique_indices": True}

    # With the examples as indices, several devices would exchange the sizes at each convolution.
    @jax.vmap
    def of_each(x: Array, size: Array) -> Array:
        x = x.at[size[0] + near].set(0, **how)
        return x.at[:, size[1] + near].set(0, **how)

    return of_each(x, sizes)


def _windows(x: Array) -> list[list[Array]]:
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [[x[:, i:h:2, j:w:2] for j in (0, 1)] for i in (0, 1)]


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    (a, b), (c, d) = _windows(x)
    top, bottom = jnp.maximum(a, b), jnp.maximum(c, d)
    largest = jnp.where(bottom > top, 2 + (d > c), b > a).astype(jnp.uint8)
    # An empty array carries the input's size, because the output doesn't show if it was odd.
    return jnp.maximum(top, bottom), (largest, jnp.zeros((0, *x.shape[1:3], 0)))


def _max_pool_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array]:
    largest, size = kept
    b, h, w, c = g.shape
    places = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    chosen = largest[:, :, None, :, None, :] == places
    x = jnp.where(chosen, g[:, :, None, :, None, :], 0).reshape(b, 2 * h, 2 * w, c)
    left_out = [(0, 0), (0, size.shape[1] - 2 * h), (0, size.shape[2] - 2 * w), (0, 0)]
    return (_computed_once(jnp.pad(x, left_out)),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def local_response_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Divides each value by (k + alpha * sum of squares over n neighbouring channels) ** beta.

    This is the form of Krizhevsky et al. 2012, whose parameters the paper uses (§2.1): k is 2 and
    alpha is not divided by n, whereas Caffe's layer divides alpha by n and has k = 1 by default.
    For the first and last channels, the sum is over the neighbours that exist.
    """
    half = LRN_CHANNELS // 2
    squares = jnp.pad(jnp.square(x.astype(jnp.float32)), ((0, 0),) * 3 + ((half, half),))
    channels = x.shape[-1]
    sums = sum(squares[..., i : i + channels] for i in range(LRN_CHANNELS))
    return (x * (LRN_K + LRN_ALPHA * sums) ** -LRN_BETA).astype(x.dtype)


def dropout(
    x: Float[Array, "b h w c"], keys: Key[Array, " b"], rate: float
) -> Float[Array, "b h w c"]:
    """Zeroes values with probability `rate` and divides the rest by 1 - rate (§3.1).

    Args:
      x: Activations.
      keys: One key per example, so that the random values of an example don't depend on how the
        batch is split over devices.
      rate: Probability in [0, 1).
    """
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)
