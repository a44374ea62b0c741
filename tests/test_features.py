"""Features by name: against a plain net in JAX, and what is computed for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from computed import kernels_used

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures
from vgg_jax.nets.vgg import VGG, init_params

pytestmark = pytest.mark.usefixtures("highest_precision")

OF_D = [
    *("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"),
    *("conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2"),
    *("conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "pool3"),
    *("conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "pool4"),
    *("conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "pool5"),
    *("fc6", "relu6", "fc7", "relu7", "fc8", "prob"),
]


def small(net, **overrides):
    return VGG(net=net, **{"num_classes": 5, "width": 1 / 32, "crop_px": 32, **overrides})


@functools.cache
def params_of(net):
    """Biases are drawn too: zeros would hide them."""
    params = init_params(small(net), jax.random.key(0))
    return {
        name: {**layer, "bias": jax.random.normal(jax.random.key(i), layer["bias"].shape)}
        for i, (name, layer) in enumerate(params.items())
    }


def pixels(*shape):
    return jnp.asarray(np.random.default_rng(1).uniform(-2, 2, (*shape, 3)), jnp.float32)


def features(model, params, images, names):
    return model.apply({"params": params}, images, names, method="features")


def plain(net, params, x):
    """Computes all features with JAX's own operations, layer by layer."""
    values = {}
    for layer in architectures.layers(net):
        name = layer.name
        if layer.kind == "pool":
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        elif layer.kind == "lrn":
            squares = jax.lax.reduce_window(
                x**2, 0.0, jax.lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME"
            )
            x = x / (2 + 1e-4 * squares) ** 0.75
        else:
            padding = "SAME" if layer.kind == "conv" else "VALID"
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = values[name] = bias[None, None, None] + jax.lax.conv_general_dilated(
                x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            name = name.replace(layer.kind, "relu")
            x = x if name == "relu8" else jnp.maximum(x, 0)
        values[name] = x
    del values["relu8"]
    return {**values, "prob": jax.nn.softmax(values["fc8"].mean((1, 2)))}


def assert_near(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    assert np.any(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("net", ["A-LRN", "B-5x5", "C"])
def test_features_and_their_gradients_are_those_of_a_plain_net(net):
    """The images' sides are odd, so that pooling leaves rows and columns out."""
    model, params, images = small(net), params_of(net), pixels(2, 33, 67)

    def sums(of, params, images):
        values = of(params, images)
        return sum((value**2).mean() for value in values.values()), values

    def both(of):
        return jax.jit(jax.grad(functools.partial(sums, of), (0, 1), has_aux=True))(params, images)

    expected_grads, expected = both(functools.partial(plain, net))
    grads, found = both(lambda params, images: features(model, params, images, [*expected]))

    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert_near(value, expected[name])
    jax.tree.map(functools.partial(assert_near, tolerance=1e-4), grads, expected_grads)


def test_the_names_are_the_authors():
    every = {
        net: [name for layer in architectures.layers(net) for name in layer.feature_names]
        for net in architectures.NETS
    }
    assert every["D"] == OF_D
    assert every["A-LRN"][:4] == ["conv1_1", "relu1_1", "norm1", "pool1"]
    assert set(every["A-LRN"]) - set(every["A"]) == {"norm1"}


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (["relu3_3"], "conv3_3"),
        (["pool4", "conv1_1"], "conv4_3"),
        (["conv1_1"], "conv1_1"),
        (["fc6"], "fc6"),
        (["prob"], "fc8"),
        ([], None),
    ],
)
def test_no_layer_is_computed_that_no_name_needs(names, last):
    """The gradient in the images needs no other kernels either."""
    model, params, images = small("D"), params_of("D"), pixels(1, 32, 32)
    layers = [layer.name for layer in model.architecture if layer.num_weights]
    needed = layers[: layers.index(last) + 1] if last else []

    def loss(params, images):
        return sum(value.sum() for value in features(model, params, images, names).values())

    assert kernels_used(functools.partial(features, model, names=names), params, images) == needed
    if last:
        assert kernels_used(jax.grad(loss, argnums=1), params, images) == needed


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
def test_images_below_the_crop_have_convolutional_features(pooling):
    model, params = small("D", pooling=pooling), params_of("D")
    sides = {"conv3_3": 1, "pool3": 1} if pooling == "ceil" else {"conv3_3": 4, "pool3": 8}
    for name, least_px in sides.items():
        found = features(model, params, pixels(1, least_px, 20), [name])[name]
        cells = {"floor": {"conv3_3": 5, "pool3": 2}, "ceil": {"conv3_3": 5, "pool3": 3}}
        assert found.shape == (1, 1, cells[pooling][name], 8)
        assert np.isfinite(found).all()
    with pytest.raises(UserError, match=r"31 x 64 px are smaller than the net's crop of 32 px"):
        features(model, params, pixels(1, 31, 64), ["relu1_1", "fc6"])
    if pooling == "floor":
        with pytest.raises(UserError, match="7 x 64 px are smaller than the 8 px that 3 poolings"):
            features(model, params, pixels(1, 7, 64), ["pool3"])


@pytest.mark.parametrize("name", ["conv3_4", "relu8", "norm1", "lrn1", "fc9", ""])
def test_a_name_that_the_net_lacks_is_refused_with_the_list(name):
    with pytest.raises(UserError, match=f"has no '{name}'. It has {', '.join(OF_D)}"):
        features(small("D"), params_of("D"), pixels(1, 32, 32), ["conv1_1", name])


def test_a_string_is_no_list_of_names():
    with pytest.raises(UserError, match=r"a list: \['fc7'\], not 'fc7'"):
        features(small("A"), params_of("A"), pixels(1, 32, 32), "fc7")


def test_bfloat16_gives_float32_features_as_the_next_layer_takes_them():
    model, params, images = small("A", dtype=jnp.bfloat16), params_of("A"), pixels(2, 32, 32)
    names = [name for layer in model.architecture for name in layer.feature_names]
    found = jax.jit(lambda p, x: features(model, p, x, names))(params, images)
    exact = jax.jit(lambda p, x: features(small("A"), p, x, names))(params, images)

    for name, value in found.items():
        assert value.dtype == jnp.float32
        assert_near(value, exact[name], 0.1)
        rounded = value.astype(jnp.bfloat16).astype(jnp.float32)
        if name.startswith(("relu", "pool")):
            np.testing.assert_array_equal(value, rounded)
        else:  # The bias is added in float32.
            assert np.any(value != rounded)
    scores = jax.jit(model.apply)({"params": params}, images)
    np.testing.assert_array_equal(found["fc8"], scores)
