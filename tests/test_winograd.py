"""Winograd's convolutions on CPUs, against sums in float64 and the plain convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.nets import architectures, layers, winograd
from vgg_jax.nets.vgg import VGG, init_params


def _plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _random(b, h, w, channels, features):
    rng = np.random.default_rng(h * w)
    return tuple(
        rng.standard_normal(shape)
        for shape in [(b, h, w, channels), (3, 3, channels, features), (b, h, w, features)]
    )


def _values_and_gradients(conv, dtype, x, kernel, g):
    x, kernel, g = (jnp.asarray(each, dtype) for each in (x, kernel, g))
    y, gradients = jax.vjp(conv, x, kernel)
    return y, *gradients(g)


@pytest.mark.parametrize(
    ("b", "h", "w", "channels", "features", "blocks"),
    [
        *[(b, h, w, 5, 3, 1) for b, h, w in [(1, 1, 1), (2, 3, 4), (1, 4, 8), (3, 5, 9)]],
        *[(2, 14, 14, 5, 3, 1), (1, 13, 22, 3, 5, 1), (2, 70, 161, 2, 2, 1)],
        # These are blocks of rows.
        (1, 60, 150, 128, 129, 2),
        (2, 70, 161, 129, 128, 3),
        # These are blocks of four images each, and then of a third of an image's rows.
        (8, 4, 300, 128, 128, 2),
        (2, 9, 1100, 128, 128, 6),
        # Their number is prime, so they would be 131 blocks of 4 tiles.
        (131, 4, 14, 128, 128, 1),
    ],
)
def test_values_and_gradients_differ_from_float64_by_rounding(b, h, w, channels, features, blocks):
    case = _random(b, h, w, channels, features)
    assert winograd.Blocks.of(case[0].shape, case[1].shape).count == blocks
    with jax.enable_x64(True):
        exact = _values_and_gradients(_plain, jnp.float64, *case)
    for found, expected in zip(
        _values_and_gradients(winograd.conv, jnp.float32, *case), exact, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6 * np.abs(expected).max())


def test_rounding_errors_of_512_channels_stay_below_3e_6():
    x, kernel, _ = _random(1, 28, 28, channels=512, features=32)
    x = np.maximum(x, 0)
    with jax.enable_x64(True):
        exact = np.asarray(_plain(jnp.asarray(x), jnp.asarray(kernel)))
    found = winograd.conv(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)) < 3e-6


def test_second_derivatives_and_batches_of_kernels():
    x, kernel, _ = (jnp.asarray(each, jnp.float32) for each in _random(2, 5, 6, 3, 3))
    kernels = jnp.stack([kernel, 2 * kernel])

    def second(conv):
        def loss(x, kernel):
            return jnp.sum(conv(x, kernel) ** 3)

        def slope(x, kernel):
            return jnp.sum(jax.grad(loss, 1)(x, kernel) ** 2)

        return jax.vmap(jax.grad(slope), (None, 0))(x, kernels)

    expected = second(_plain)
    np.testing.assert_allclose(
        second(winograd.conv), expected, rtol=0, atol=2e-5 * np.abs(expected).max()
    )


def test_hessian_vector_products_take_forward_mode_over_gradients():
    x, kernel, _ = (jnp.asarray(each, jnp.float32) for each in _random(2, 5, 6, 3, 3))

    def product(conv):
        gradient = jax.grad(lambda kernel: jnp.sum(conv(x, kernel) ** 3))
        return jax.jvp(gradient, (kernel,), (jnp.ones_like(kernel),))[1]

    expected = product(_plain)
    np.testing.assert_allclose(
        product(winograd.conv), expected, rtol=0, atol=2e-5 * np.abs(expected).max()
    )


def test_images_do_not_depend_on_their_batch():
    x, kernel, _ = (jnp.asarray(each, jnp.float32) for each in _random(6, 9, 600, 128, 128))
    one_by_one = jnp.concatenate([winograd.conv(image[None], kernel) for image in x])
    difference = jnp.abs(winograd.conv(x, kernel) - one_by_one).max()
    assert difference <= 1e-6 * jnp.abs(one_by_one).max()


@pytest.mark.parametrize(
    ("net", "width", "px", "batch", "without"),
    [
        ("D", 1.0, 224, 8, ["conv1_1"]),
        ("E", 0.25, 64, 32, ["conv1_1", "conv1_2"]),  # conv1_2 has 16 channels.
    ],
)
def test_nets_train_with_it_where_their_kernels_are_large(
    monkeypatch, net, width, px, batch, without
):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    found = []
    for layer in architectures.layers(net, num_classes=1000, width=width, crop_px=px):
        if layer.kind == "pool":
            px //= 2
        if layer.kind == "conv":
            kernel = (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features)
            if not winograd.suits((batch, px, px, layer.features_in), kernel):
                found.append(layer.name)
    assert found == without


@pytest.mark.parametrize(
    ("x", "kernel", "suits"),
    [
        ((8, 56, 56, 256), (3, 3, 256, 256), True),
        ((8, 56, 56, 256), (1, 1, 256, 256), False),
        ((8, 56, 56, 256), (5, 5, 256, 256), False),
        # One image's conv5: transforming the kernel takes longer than the convolution.
        ((1, 14, 14, 512), (3, 3, 512, 512), False),
        ((999, 2, 4, 512), (3, 3, 512, 512), False),  # Half of each tile lies outside.
        # One block keeps its transformed inputs for the gradient, two don't.
        ((32, 16, 16, 32), (3, 3, 32, 64), True),
        ((64, 32, 32, 32), (3, 3, 32, 64), False),
    ],
)
def test_it_suits_large_3x3_kernels_and_images(monkeypatch, x, kernel, suits):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert winograd.suits(x, kernel) == suits


def test_several_devices_and_unknown_sizes_take_the_plain_convolution(monkeypatch):
    x, kernel = (8, 56, 56, 256), (3, 3, 256, 256)
    assert not winograd.suits(x, kernel)  # The tests have eight devices.
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    (batch,) = jax.export.symbolic_shape("b")
    assert not winograd.suits((batch, *x[1:]), kernel)


def test_gpus_and_tpus_take_the_plain_convolution():
    case = (jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 4)), jnp.zeros((2, 8, 8, 4)))

    def products(platform):
        step = jax.jit(lambda *case: _values_and_gradients(winograd.conv, jnp.float32, *case))
        program = jax.export.export(step, platforms=[platform])(*case)
        return program.mlir_module().count("stablehlo.dot_general")

    assert products("cpu")
    assert products("cuda") == products("tpu") == 0


def _transforms(function, *case):
    return jax.jit(function).lower(*case).as_text().count("tensor<36x9xf32>")


def test_small_layers_take_it_where_gradients_are_computed_alone():
    x, kernel = jnp.zeros((32, 8, 8, 128)), jnp.zeros((3, 3, 128, 128))
    assert _transforms(winograd.conv, x, kernel) == 0
    assert _transforms(jax.grad(lambda x, kernel: winograd.conv(x, kernel).sum(), 1), x, kernel)
    assert _transforms(winograd.conv, jnp.zeros((32, 28, 28, 128)), kernel)


def test_a_net_and_its_gradients_are_the_same_with_it_and_without(monkeypatch):
    # A place where a sum is zero but for its rounding decides its ReLU by that, and changes the
    # gradients of the layers below. Few activations make such places rare.
    net = VGG("A", num_classes=5, width=1 / 8, crop_px=32, dropout=0.0)
    params = init_params(net, jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (16, 32, 32, 3))

    def loss(params):
        return jnp.square(net.apply({"params": params}, images)).mean()

    gradients = jax.value_and_grad(loss)
    assert _transforms(gradients, params) == 0
    plain = jax.jit(gradients)(params)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    jax.clear_caches()
    assert _transforms(gradients, params) > 0
    found = jax.jit(gradients)(params)
    for each, expected in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(each, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_bfloat16_takes_the_plain_convolution(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    x, kernel = jnp.zeros((8, 56, 56, 256), jnp.bfloat16), jnp.zeros((3, 3, 256, 256), jnp.bfloat16)
    assert _transforms(lambda x, kernel: layers.conv(x, kernel, "SAME"), x, kernel) == 0
