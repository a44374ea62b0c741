"""The nets, against Table 1 written out again in NumPy, and their initialisations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_architectures import NUM_PARAMETERS

from vgg_jax.nets import architectures
from vgg_jax.nets.preinitialisation import preinitialise
from vgg_jax.nets.vgg import VGG, init_params

pytestmark = pytest.mark.usefixtures("highest_precision")

# This is Table 1 again: kernel sizes of the convolutions, "lrn" and "pool".
_TABLE_1 = {
    "A": [3, "pool", 3, "pool", 3, 3, "pool", 3, 3, "pool", 3, 3, "pool"],
    "A-LRN": [3, "lrn", "pool", 3, "pool", 3, 3, "pool", 3, 3, "pool", 3, 3, "pool"],
    "B": [3, 3, "pool"] * 5,
    "B-5x5": [5, "pool"] * 5,
    "C": [3, 3, "pool"] * 2 + [3, 3, 1, "pool"] * 3,
    "D": [3, 3, "pool"] * 2 + [3, 3, 3, "pool"] * 3,
    "E": [3, 3, "pool"] * 2 + [3, 3, 3, 3, "pool"] * 3,
}
_NETS = tuple(_TABLE_1)


def _small(net, **overrides):
    return VGG(net=net, **{"num_classes": 5, "width": 1 / 16, "crop_px": 64, **overrides})


def _random_params(model, seed):
    """Draws He's kernels and biases in NumPy, without compiling: zeros would hide the biases."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))

    def draw(shape):
        sigma = 10 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
        return jnp.asarray(rng.standard_normal(shape) * sigma, jnp.float32)

    return jax.tree.map(lambda leaf: draw(leaf.shape), shapes)


@functools.cache
def _params(net):
    return _random_params(_small(net), seed=_NETS.index(net))


def _images(*shape):
    pixels = np.random.default_rng(1).uniform(-120, 135, (*shape, 3))
    return jnp.asarray(pixels, jnp.float32)


def _conv(x, layer, border):
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    side = kernel.shape[0]
    x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
    result = np.zeros((*x.shape[:1], height, width, kernel.shape[-1])) + bias
    for i, j in np.ndindex(side, side):
        result += x[:, i : i + height, j : j + width] @ kernel[i, j]
    return result


def _forward(net, params, images):
    """Computes the whole net in float64; returns {name in the authors' release: values}."""
    x, block, index, values = np.asarray(images, np.float64), 1, 1, {}
    for row in _TABLE_1[net]:
        if row == "pool":
            height, width = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * height, : 2 * width]
            x = x.reshape(x.shape[0], height, 2, width, 2, -1).max((2, 4))
            values[f"pool{block}"] = x
            block, index = block + 1, 1
        elif row == "lrn":
            channels = np.arange(x.shape[-1])
            near = np.abs(channels[:, None] - channels) <= 2
            x = values["norm1"] = x / (2 + 1e-4 * (x**2 @ near)) ** 0.75
        else:
            name = f"{block}_{index}"
            kernel = params[f"conv{name}"]["kernel"]
            assert kernel.shape[:2] == (row, row)
            values[f"conv{name}"] = _conv(x, params[f"conv{name}"], (row - 1) // 2)
            x = values[f"relu{name}"] = np.maximum(values[f"conv{name}"], 0)
            index += 1
    for name in "67":
        values[f"fc{name}"] = _conv(x, params[f"fc{name}"], 0)
        x = values[f"relu{name}"] = np.maximum(values[f"fc{name}"], 0)
    values["fc8"] = _conv(x, params["fc8"], 0)
    powers = np.exp(values["fc8"].mean((1, 2)) - values["fc8"].max())
    values["prob"] = powers / powers.sum(1, keepdims=True)
    assert {name for name in values if name.startswith(("conv", "fc"))} == params.keys()
    return values


def _relative_error(value, expected):
    assert value.shape == expected.shape
    return np.max(np.abs(np.asarray(value, np.float64) - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize("net", _NETS)
def test_the_trees_parameter_count_is_table_2s(net):
    model = VGG(net=net, num_classes=1000)
    shapes = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
    assert count == architectures.num_parameters(architectures.layers(net))
    if net in NUM_PARAMETERS:
        assert count == NUM_PARAMETERS[net]
    else:
        # B-5x5 has 5x5 kernels from 3 to 64, 64 to 128, ... 512 to 512 channels, and B's FC layers.
        convs = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512) + 64 + 128 + 256 + 1024
        fcs = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000 + 4096 + 4096 + 1000
        assert count == convs + fcs


@pytest.mark.parametrize("net", _NETS)
def test_every_layer_is_table_1s(net):
    """The sides aren't multiples of 32, so that odd last rows and columns are left out."""
    model, params, images = _small(net), _params(net), _images(2, 70, 101)
    expected = _forward(net, params, images)

    scores = jax.jit(model.apply)({"params": params}, images)
    features = jax.jit(
        lambda params: model.apply({"params": params}, images, [*expected], method="features")
    )(params)

    assert scores.shape == (2, 1, 2, 5)
    assert _relative_error(scores, expected["fc8"]) < 1e-5
    assert features.keys() == expected.keys()
    for name, value in features.items():
        # Softmax magnifies the rounding of scores, which are in the hundreds.
        assert _relative_error(value, expected[name]) < (1e-3 if name == "prob" else 1e-5), name


def test_lrn_changes_the_scores():
    params, images = _params("A-LRN"), _images(1, 64, 64)
    with_lrn, without = (_forward(net, params, images)["fc8"] for net in ("A-LRN", "A"))
    assert _relative_error(with_lrn, without) > 0.1


@pytest.mark.parametrize(("side_px", "cells"), [(64, 1), (95, 1), (96, 2), (160, 4)])
def test_the_score_map_has_one_cell_a_crop_and_one_more_every_32_px(side_px, cells):
    model, params = _small("A"), _params("A")
    images = _images(1, side_px, 64)

    scores = jax.eval_shape(model.apply, {"params": params}, images)

    assert scores.shape == (1, cells, 1, 5)


def test_an_images_sides_of_224_to_512_px_give_the_papers_maps():
    model = VGG(net="A", width=1 / 64)
    params = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))
    cells = {224: 1, 256: 2, 288: 3, 352: 5, 384: 6, 416: 7, 512: 10}
    for side_px, side in cells.items():
        image = jax.ShapeDtypeStruct((1, side_px, side_px, 3), jnp.float32)
        assert jax.eval_shape(model.apply, {"params": params}, image).shape == (1, side, side, 1000)


def test_fully_connected_layers_see_every_cell_alike():
    """Far from the zero padding, an image that repeats every 32 px gives equal cells."""
    model, params = _small("A"), _params("A")
    image = jnp.tile(_images(1, 32, 32), (1, 16, 16, 1))
    scores = np.asarray(jax.jit(model.apply)({"params": params}, image))

    assert scores.shape == (1, 15, 15, 5)
    inner = scores[:, 4:-4, 4:-4]
    assert _relative_error(inner, np.broadcast_to(inner[:, :1, :1], inner.shape)) < 1e-5
    assert _relative_error(scores[:, :1, :1], inner[:, :1, :1]) > 1e-3


@pytest.mark.parametrize("shape", [(63, 64), (64, 63), (32, 200)])
def test_an_image_smaller_than_the_crop_raises(shape):
    with pytest.raises(ValueError, match="smaller than the net's crop of 64 px"):
        _small("A").apply({"params": _params("A")}, _images(1, *shape))


def test_an_unknown_net_or_crop_raises():
    with pytest.raises(ValueError, match="Unknown net 'F'"):
        init_params(_small("F"), jax.random.key(0))
    with pytest.raises(ValueError, match="crop_px=100"):
        init_params(_small("A", crop_px=100), jax.random.key(0))


@pytest.mark.parametrize("net", ["A-LRN", "E"])
def test_bfloat16_gives_float32_scores_near_float32s(net):
    params, images = _params(net), _images(4, 64, 64)
    expected = _forward(net, params, images)["fc8"]

    scores = jax.jit(_small(net, dtype=jnp.bfloat16).apply)({"params": params}, images)

    assert scores.dtype == jnp.float32
    # bfloat16 rounds by up to 2^-9, here a few times in each of up to 19 layers.
    assert 1e-4 < _relative_error(scores, expected) < 0.05


def test_dropout_acts_under_keys_alone():
    model, params, images = _small("A"), _params("A"), _images(4, 64, 64)
    keys = jax.random.split(jax.random.key(3), 4)
    apply = jax.jit(lambda keys: model.apply({"params": params}, images, keys))
    plain = model.apply({"params": params}, images)

    dropped = apply(keys)
    assert np.min(np.max(np.abs(dropped - plain), axis=(1, 2, 3))) > 0.01 * np.max(np.abs(plain))
    np.testing.assert_array_equal(apply(keys), dropped)
    assert np.any(apply(jax.random.split(jax.random.key(4), 4)) != dropped)
    without = _small("A", dropout=0.0).apply({"params": params}, images, keys)
    np.testing.assert_array_equal(without, plain)


def test_dropout_keeps_half_of_fc6_and_another_half_of_fc7():
    """Layers of ones count which of 256 values are kept. Dropout doubles each of these."""
    model, params, images = _small("A"), _params("A"), _images(4, 64, 64)
    keys = jax.random.split(jax.random.key(3), 4)
    biases, kernels = (
        {name: jax.tree.map(jnp.zeros_like, params[name]) for name in ("fc6", "fc7", "fc8")}
        for _ in range(2)
    )
    for name in biases:
        biases[name]["bias"] = jnp.ones_like(params[name]["bias"])
        kernels[name]["kernel"] = jnp.ones_like(params[name]["kernel"])

    def score(fc6, fc7, fc8):
        layers = {**params, "fc6": fc6, "fc7": fc7, "fc8": fc8}
        return np.asarray(model.apply({"params": layers}, images, keys))[:, 0, 0, 0]

    kept_7 = score(params["fc6"], biases["fc7"], kernels["fc8"]) / 2
    kept_6 = score(biases["fc6"], kernels["fc7"], kernels["fc8"]) / 2 / (2 * kept_7)

    for kept in (kept_6, kept_7):
        np.testing.assert_array_equal(kept, np.rint(kept))
        assert np.all(np.abs(kept - 128) < 4 * 8)  # Four standard deviations.
        assert len(set(kept.tolist())) > 1
    assert np.any(kept_6 != kept_7)


@functools.cache
def _drawn(init, sigma):
    model = VGG(net="B-5x5", num_classes=10, width=1 / 4, crop_px=64, kernel_init=init, sigma=sigma)
    return init_params(model, jax.random.key(0))


def _fans(kernel, name):
    side, _, features_in, features = kernel.shape
    # Each input of a fully connected layer feeds every output once, wherever it lies in space.
    return side * side * features_in, features if name.startswith("fc") else side * side * features


@pytest.mark.parametrize(
    ("init", "sigma"), [("normal", 0.1), ("normal", 0.01), ("glorot", 0.1), ("he", 0.1)]
)
def test_kernels_have_their_initialisations_standard_deviation(init, sigma):
    for name, layer in _drawn(init, sigma).items():
        kernel = np.asarray(layer["kernel"])
        fan_in, fan_out = _fans(kernel, name)
        expected = {
            "normal": sigma,
            "glorot": np.sqrt(2 / (fan_in + fan_out)),
            "he": np.sqrt(2 / fan_in),
        }[init]
        # The tolerance is five standard errors of a normal's deviation (a uniform's is smaller).
        assert abs(kernel.std() / expected - 1) < 5 / np.sqrt(2 * kernel.size), name
        assert abs(kernel.mean()) < 5 * expected / np.sqrt(kernel.size), name
        # Glorot's initialisation is uniform; the normal ones are not truncated.
        largest = np.abs(kernel).max() / expected
        assert largest <= np.sqrt(3) * 1.0001 if init == "glorot" else largest > 2.5, name


@pytest.mark.parametrize(
    ("init", "sigma"), [("normal", 0.1), ("normal", 0.01), ("glorot", 0.1), ("he", 0.1)]
)
def test_biases_start_at_zero(init, sigma):
    for name, layer in _drawn(init, sigma).items():
        assert layer.keys() == {"kernel", "bias"}
        assert not np.any(layer["bias"]), name


def test_an_unknown_initialisation_raises():
    with pytest.raises(Exception, match="xavier"):
        init_params(_small("A", kernel_init="xavier"), jax.random.key(0))


@pytest.mark.parametrize("net", ["B", "C", "D", "E"])
def test_preinitialise_copies_the_first_four_convolutions_and_the_fc_layers_of_a(net):
    trained, fresh = _params("A"), _params(net)
    params = preinitialise(fresh, trained)

    copied = {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"}
    assert params.keys() == fresh.keys()
    for name, layer in params.items():
        source = trained if name in copied else fresh
        for part in ("kernel", "bias"):
            np.testing.assert_array_equal(layer[part], source[name][part])
            if name in copied:
                assert np.any(layer[part] != fresh[name][part])


def test_b_5x5_takes_the_fc_layers_alone():
    trained, fresh = _params("A"), _params("B-5x5")
    params = preinitialise(fresh, trained)

    for name, layer in params.items():
        source = trained if name.startswith("fc") else fresh
        jax.tree.map(np.testing.assert_array_equal, layer, source[name])


@pytest.mark.parametrize(
    ("override", "layer"),
    [({"crop_px": 96}, "fc6"), ({"width": 1 / 32}, "fc6"), ({"num_classes": 6}, "fc8")],
)
def test_preinitialise_between_different_crops_widths_or_classes_raises(override, layer):
    fresh = _random_params(_small("B", **override), seed=9)
    with pytest.raises(ValueError, match=f"{layer} cannot be pre-initialised"):
        preinitialise(fresh, _params("A"))
