"""The operations of the nets, against loops and closed forms in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.nets import layers, packed_convolution, plain_convolution, sharding
from vgg_jax.nets.vgg import VGG, init_params

pytestmark = pytest.mark.usefixtures("highest_precision")


def _conv_by_loop(x, kernel, padding):
    """Computes every output value as one sum, in float64."""
    side = kernel.shape[0]
    if padding == "SAME":
        border = (side - 1) // 2
        x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
    result = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for example, row, column, feature in np.ndindex(result.shape):
        window = x[example, row : row + side, column : column + side]
        result[example, row, column, feature] = np.sum(window * kernel[..., feature])
    return result


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kernel_px", [1, 3, 5])
def test_conv_is_the_sum_over_the_window(padding, kernel_px):
    rng = np.random.default_rng(kernel_px)
    x = rng.standard_normal((2, 7, 6, 3))
    kernel = rng.standard_normal((kernel_px, kernel_px, 3, 4))

    y = layers.conv(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), padding)

    np.testing.assert_allclose(y, _conv_by_loop(x, kernel, padding), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("conv", [packed_convolution.conv, packed_convolution.conv_on_cpu])
@pytest.mark.parametrize("kernel_px", [1, 3, 5, 7])
@pytest.mark.parametrize("width", [1, 2, 6, 7, 8])
def test_packed_pixels_give_the_same_convolution_and_gradients(conv, kernel_px, width):
    rng = np.random.default_rng(width)
    x = jnp.asarray(rng.standard_normal((2, 5, width, 3)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((kernel_px, kernel_px, 3, 4)), jnp.float32)
    weights = jnp.asarray(rng.standard_normal((2, 5, width, 4)), jnp.float32)

    def values_and_gradients(conv):
        gradients = jax.grad(lambda x, kernel: (weights * conv(x, kernel)).sum(), (0, 1))
        return jax.jit(lambda *case: (conv(*case), *gradients(*case)))(x, kernel)

    plain = values_and_gradients(lambda x, kernel: plain_convolution.conv(x, kernel, "SAME"))
    for found, expected in zip(values_and_gradients(conv), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("width", "kernel_px", "packed"), [(8, 3, True), (7, 3, False), (8, 2, False)]
)
def test_one_cpu_takes_two_pixels_of_few_channels_at_a_time(monkeypatch, width, kernel_px, packed):
    x, kernel = jnp.zeros((2, 8, width, 3)), jnp.zeros((kernel_px, kernel_px, 3, 4))

    def program(x):
        return jax.jit(lambda x: layers.conv(x, kernel, "SAME")).lower(x).as_text()

    assert "tensor<3x2x6x8xf32>" not in program(x)  # The tests have eight devices.
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert ("tensor<3x2x6x8xf32>" in program(x)) == packed
    (symbol,) = jax.export.symbolic_shape("w")
    assert "tensor<3x2x6x8xf32>" not in program(jax.ShapeDtypeStruct((2, 8, symbol, 3), x.dtype))


def test_biased_relu_and_its_gradients():
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.standard_normal((3, 5, 4, 2)), jnp.float32) for _ in range(2))
    bias = jnp.asarray(rng.standard_normal((1, 1, 1, 2)), jnp.float32)

    found = jax.vjp(layers.biased_relu, x, bias)
    expected = jax.vjp(lambda x, bias: jax.nn.relu(x + bias), x, bias)

    np.testing.assert_array_equal(found[0], expected[0])
    for ours, jax_own in zip(found[1](weights), expected[1](weights), strict=True):
        np.testing.assert_allclose(ours, jax_own, rtol=1e-6)


def test_the_gradient_of_a_bias_is_summed_in_float32():
    x, bias = jnp.ones((1, 100, 100, 1), jnp.bfloat16), jnp.zeros((1, 1, 1, 1), jnp.float32)
    gradient = jax.grad(lambda bias: layers.biased_relu(x, bias).astype(jnp.float32).sum())(bias)
    assert gradient.dtype == jnp.float32
    assert gradient.item() == 10_000


@pytest.mark.parametrize("kernel_px", [1, 2, 7])
def test_a_product_of_patches_gives_the_fully_connected_layers_convolution(kernel_px):
    rng = np.random.default_rng(kernel_px)
    x = jnp.asarray(rng.standard_normal((2, 9, 8, 6)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((kernel_px, kernel_px, 6, 5)), jnp.float32)

    found, gradients = jax.vjp(layers.product_of_patches, x, kernel)
    expected, plain = jax.vjp(lambda x, kernel: layers.conv(x, kernel, "VALID"), x, kernel)

    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-5)
    for ours, convolutions in zip(gradients(found), plain(found), strict=True):
        np.testing.assert_allclose(ours, convolutions, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("reach_px", [1, 2])
def test_a_kernel_reads_no_more_than_the_strips_of_zeros(reach_px):
    rng = np.random.default_rng(reach_px)
    x = jnp.asarray(rng.standard_normal((4, 9, 8, 3)), jnp.float32)
    kernel_px = 2 * reach_px + 1
    kernel = jnp.asarray(rng.standard_normal((kernel_px, kernel_px, 3, 5)), jnp.float32)
    sizes = [(9, 8), (8, 7), (4, 8), (9, 5)]

    ended = layers.zero_strips(x, jnp.array(sizes), reach_px=reach_px)
    y = layers.conv(ended, kernel, "SAME")

    for index, (height, width) in enumerate(sizes):
        alone = layers.conv(x[index : index + 1, :height, :width], kernel, "SAME")[0]
        np.testing.assert_allclose(y[index, :height, :width], alone, rtol=1e-5, atol=1e-5)


def test_devices_exchange_nothing_to_zero_strips_of_their_images():
    split = sharding.split_batch(sharding.make_mesh())
    shapes = (
        jax.ShapeDtypeStruct((16, 9, 8, 3), jnp.float32, sharding=split),
        jax.ShapeDtypeStruct((16, 2), jnp.int32, sharding=split),
    )
    zeroed = jax.jit(functools.partial(layers.zero_strips, reach_px=1), out_shardings=split)
    program = zeroed.lower(*shapes).compile().as_text()
    assert "num_partitions=8" in program
    assert "all-" not in program
    assert "collective-" not in program


def test_nvidias_gpus_take_strips_and_products_of_patches():
    x, sizes = jnp.zeros((2, 9, 8, 3)), jnp.zeros((2, 2), jnp.int32)
    kernel = jnp.zeros((7, 7, 3, 5))

    @jax.jit
    def program(x, sizes, kernel):
        return layers.conv(layers.zero_outside(x, sizes, 1), kernel, "VALID")

    def operations(platform):
        lowered = jax.export.export(program, platforms=[platform])(x, sizes, kernel)
        names = ("scatter", "dot_general", "convolution")
        return [name for name in names if f"stablehlo.{name}" in lowered.mlir_module()]

    assert operations("cuda") == ["scatter", "dot_general"]
    assert operations("cpu") == ["convolution"]


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
@pytest.mark.parametrize("net", ["A-LRN", "B-5x5", "C"])
def test_images_that_end_in_strips_of_zeros_are_as_if_alone(net, pooling, monkeypatch):
    monkeypatch.setattr(
        layers, "zero_outside", lambda x, sizes, reach: layers.zero_strips(x, sizes, reach_px=reach)
    )
    model = VGG(net, num_classes=3, width=1 / 32, crop_px=32, pooling=pooling)
    params = init_params(model, jax.random.key(0))
    rng = np.random.default_rng(0)
    # What lies outside the images is as large as what lies in them.
    x = jnp.asarray(rng.standard_normal((3, 75, 101, 3)), jnp.float32)
    sizes = np.array([(75, 101), (64, 67), (33, 32)])

    scores = jax.jit(functools.partial(model.apply, {"params": params}))
    maps = scores(x, sizes=jnp.asarray(sizes))
    features = functools.partial(model.apply, {"params": params}, method="features")
    blocks = jax.jit(features, static_argnums=1)(x, ("conv2_1", "conv3_1"), jnp.asarray(sizes))
    # Some algorithms of convolutions read more than the kernel does, and cancel it.
    assert all(jnp.isfinite(values).all() for values in blocks.values())

    for index, (height, width) in enumerate(sizes):
        alone = scores(x[index : index + 1, :height, :width])[0]
        rows, columns = model.score_cells(sizes[index])
        assert alone.shape[:2] == (rows, columns)
        np.testing.assert_allclose(maps[index, :rows, :columns], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel_px", [1, 2, 7])
def test_matrix_product_for_one_position_equals_the_convolution(kernel_px):
    rng = np.random.default_rng(kernel_px)
    x = rng.standard_normal((3, kernel_px, kernel_px, 8)).astype(np.float32)
    kernel = rng.standard_normal((kernel_px, kernel_px, 8, 5)).astype(np.float32)

    y = layers.conv(jnp.asarray(x), jnp.asarray(kernel), "VALID")

    # A repeated last row and column of the input make a second position along each side, so that
    # the general path runs. Its first position sees what the matrix product saw.
    larger = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    general = layers.conv(jnp.asarray(larger), jnp.asarray(kernel), "VALID")
    assert general.shape == (3, 2, 2, 5)
    assert y.shape == (3, 1, 1, 5)
    np.testing.assert_allclose(y, general[:, :1, :1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y, _conv_by_loop(x, kernel, "VALID"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width"), [(2, 2), (3, 3), (8, 6), (7, 6), (6, 7), (9, 5), (1, 4)]
)
def test_max_pool_takes_each_2x2_window_and_leaves_an_odd_edge_out(height, width):
    x = np.random.default_rng(0).standard_normal((2, height, width, 3)).astype(np.float32)
    expected = np.empty((2, height // 2, width // 2, 3), np.float32)
    for row, column in np.ndindex(height // 2, width // 2):
        window = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        expected[:, row, column] = window.max((1, 2))

    np.testing.assert_array_equal(layers.max_pool(jnp.asarray(x)), expected)


def test_bias_and_relu_commute_with_max_pool_to_the_bit():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 9, 10, 6)), jnp.float32)
    bias = jnp.asarray(rng.standard_normal((1, 1, 1, 6)), jnp.float32)

    before, after = layers.max_pool(jax.nn.relu(x + bias)), jax.nn.relu(layers.max_pool(x) + bias)

    np.testing.assert_array_equal(before, after)
    assert 0 < np.count_nonzero(before) < before.size


def test_max_pool_sends_the_gradient_to_the_maximum_alone():
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3)).astype(np.float32)
    gradient = jax.grad(lambda x: layers.max_pool(x).sum())(jnp.asarray(x))

    expected = np.zeros_like(x)
    for example, row, column, channel in np.ndindex(2, 2, 3, 3):
        window = x[example, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        y, z = np.unravel_index(window.argmax(), (2, 2))
        expected[example, 2 * row + y, 2 * column + z, channel] = 1
    np.testing.assert_array_equal(gradient, expected)


def _lrn_by_loop(x, k, n, alpha, beta):
    result = np.empty_like(x)
    for channel in range(x.shape[-1]):
        first, last = max(0, channel - n // 2), min(x.shape[-1] - 1, channel + n // 2)
        squares = np.sum(x[..., first : last + 1] ** 2, axis=-1)
        result[..., channel] = x[..., channel] / (k + alpha * squares) ** beta
    return result


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_lrn_is_krizhevskys(channels):
    # The values are about 100, so that alpha times the sum of squares is of the order of k.
    x = np.random.default_rng(0).standard_normal((2, 4, 3, channels)) * 100
    expected = _lrn_by_loop(x, k=2, n=5, alpha=1e-4, beta=0.75)

    y = layers.local_response_norm(jnp.asarray(x, jnp.float32))

    np.testing.assert_allclose(y, expected, rtol=1e-5)
    caffes = _lrn_by_loop(x, k=1, n=5, alpha=1e-4 / 5, beta=0.75)
    assert np.max(np.abs(expected - caffes)) > 1


def test_lrn_in_bfloat16_sums_in_float32():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3, 12)) * 100, jnp.bfloat16)
    y = layers.local_response_norm(x)
    expected = _lrn_by_loop(np.asarray(x, np.float64), k=2, n=5, alpha=1e-4, beta=0.75)

    assert y.dtype == jnp.bfloat16
    # The tolerance is one rounding to 8 significant bits.
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8)


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(rate):
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (8, 1, 1, 4096)), jnp.float32)
    y = np.asarray(layers.dropout(x, jax.random.split(jax.random.key(0), 8), rate))

    kept = y != 0
    np.testing.assert_allclose(y[kept], (np.asarray(x) / (1 - rate))[kept], rtol=1e-6)
    standard_error = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((~kept).mean() - rate) < 4 * standard_error


def test_dropout_follows_each_examples_key():
    x = jnp.ones((6, 1, 2, 256), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 6)
    order = np.array([3, 0, 5, 1, 4, 2])

    y = np.asarray(layers.dropout(x, keys, 0.5))

    np.testing.assert_array_equal(layers.dropout(x, keys[order], 0.5), y[order])
    np.testing.assert_array_equal(layers.dropout(x[:2], keys[:2], 0.5), y[:2])
    assert len(np.unique(y.reshape(6, -1), axis=0)) == 6
