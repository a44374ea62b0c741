"""torchvision's and timm's names and layouts."""

import numpy as np
import pytest
from foreign_arrays import InMemory, random_norms, random_params, timm, torchvision

from vgg_jax.errors import UserError
from vgg_jax.foreign.layouts import torch_names
from vgg_jax.foreign.net import TORCHVISION
from vgg_jax.nets import architectures

NETS_OF_TORCHVISION = ("A", "B", "D", "E")
LAYOUTS = {"torchvision": torchvision, "timm": timm}


def _loaded(found):
    """Loads all layers, and checks that their shapes are those announced."""
    layers = {name: layer.load() for name, layer in found.layers.items()}
    for name, layer in found.layers.items():
        assert layers[name]["kernel"].shape == layer.kernel_shape
    return layers


def _assert_equal(found, params):
    loaded = _loaded(found)
    assert list(loaded) == list(params)
    for name, layer in params.items():
        for key, array in layer.items():
            np.testing.assert_array_equal(loaded[name][key], array, strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("net", architectures.NETS)
def test_kernels_and_biases_are_the_same_to_the_bit(net, layout):
    params = random_params(net)
    found = torch_names.convert(InMemory(LAYOUTS[layout](net, params)))
    assert (found.layout, found.preprocessing) == (layout, TORCHVISION)
    assert (found.odd_edges, found.batch_norm) == ("floor", False)
    _assert_equal(found, params)


@pytest.mark.parametrize("wrapper", ["module.", "model.", "_orig_mod.", "module._orig_mod.model."])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrapped_names(wrapper, layout):
    params = random_params("A", crop_px=32)
    arrays = {wrapper + name: a for name, a in LAYOUTS[layout]("A", params).items()}
    arrays["n_averaged"] = np.array(3)
    _assert_equal(torch_names.convert(InMemory(arrays)), params)


def test_features_wrapped_alone():
    params = random_params("A", crop_px=32)
    arrays = {
        name.replace("features.", "features.module."): array
        for name, array in torchvision("A", params).items()
    }
    _assert_equal(torch_names.convert(InMemory(arrays)), params)


def test_the_order_in_the_file_does_not_matter():
    params = random_params("E")
    arrays = dict(sorted(torchvision("E", params).items()))
    assert list(arrays).index("features.10.weight") < list(arrays).index("features.2.weight")
    _assert_equal(torch_names.convert(InMemory(arrays)), params)


def test_a_file_without_fc_layers():
    params = random_params("D", fc=False)
    _assert_equal(torch_names.convert(InMemory(torchvision("D", params))), params)


def _folded(layer, norm):
    """Folds batch norm output by output, with Python's own floats."""
    kernel = layer["kernel"].astype(np.float64)
    bias = layer["bias"].astype(np.float64)
    for output in range(bias.size):
        factor = float(norm["weight"][output]) / (float(norm["running_var"][output]) + 1e-5) ** 0.5
        kernel[..., output] *= factor
        centred = bias[output] - float(norm["running_mean"][output])
        bias[output] = centred * factor + float(norm["bias"][output])
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


@pytest.mark.parametrize("net", NETS_OF_TORCHVISION)
@pytest.mark.parametrize("with_bias", [True, False])
def test_batch_norm_becomes_part_of_kernels_and_biases(net, with_bias):
    params = random_params(net)
    norms = random_norms(params)
    arrays = torchvision(net, params, norms=norms)
    expected = {}
    for name, layer in params.items():
        bias = layer["bias"] if with_bias else np.zeros_like(layer["bias"])
        is_conv = name.startswith("conv")
        expected[name] = _folded({**layer, "bias": bias}, norms[name]) if is_conv else layer
    if not with_bias:
        for name, array in list(arrays.items()):
            if array.ndim == 4:
                del arrays[name.replace("weight", "bias")]
    found = torch_names.convert(InMemory(arrays))
    assert found.batch_norm
    _assert_equal(found, expected)


@pytest.mark.parametrize(
    "names",
    [
        ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.weight"],
        ["features.conv0.weight", "features.norm0.weight"],
        ["conv1_1/weight"],
        ["features.0.bias"],
        [],
    ],
)
def test_names_of_other_layouts_are_left_to_others(names):
    assert torch_names.convert(InMemory({name: np.ones((8, 3, 3, 3)) for name in names})) is None


def _alexnet():
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3)}
    shapes[10] = (256, 256, 3, 3)
    arrays = {}
    for index, shape in shapes.items():
        arrays[f"features.{index}.weight"] = np.ones(shape, np.float32)
        arrays[f"features.{index}.bias"] = np.ones(shape[0], np.float32)
    return arrays


def _without(*suffixes):
    arrays = torchvision("A", random_params("A"))
    return {name: array for name, array in arrays.items() if name not in suffixes}


def _with(name, shape):
    return {**_without(), name: np.ones(shape, np.float32)}


def _norm_after_relu():
    params = random_params("A")
    arrays = torchvision("A", params)
    norm = random_norms(params)["conv1_1"]
    return {**arrays, **{f"features.2.{key}": array for key, array in norm.items()}}


def _norm_without(key):
    params = random_params("A")
    arrays = torchvision("A", params, norms=random_norms(params))
    del arrays[f"features.1.{key}"]
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (_alexnet(), "5 convolutions have kernels of 11 x 11, 5 x 5, 3 x 3, 3 x 3, 3 x 3 px"),
        (_without("features.0.weight", "features.0.bias"), "their 7 convolutions"),
        (_without("features.3.bias"), "features.3 has no bias"),
        (_without("classifier.3.weight"), "classifier.3 has no weight"),
        (_without("classifier.6.weight", "classifier.6.bias"), "have 2 FC layers"),
        (_with("features.3.squeeze.weight", 3), "features.3.squeeze.weight"),
        (_with("aux.weight", 3), "arrays that no VGG of torchvision or timm has: aux.weight"),
        (_with("module.features.0.weight", 3), "have features.0.weight twice"),
        (_with("features.0.bias", 3), r"features.0 has a bias of shape \(3,\)"),
        (_with("features.0.weight", 3), r"features.0.weight has the shape \(3,\)"),
        (_with("classifier.3.weight", 3), r"classifier.3.weight has the shape \(3,\)"),
        (_with("classifier.0.weight", (256, 33)), "has 33 inputs, which are no square"),
        (_with("features.6.weight", (16, 7, 3, 3)), "conv3_1 has a kernel of 3 x 3 x 7 x 16"),
        (_with("classifier.1.running_mean", 256), "follows no convolution: classifier.1"),
        (_norm_after_relu(), "batch norm that follows no convolution: features.2"),
        (_norm_without("weight"), "The batch norm after features.0 has no weight"),
        (_norm_without("running_var"), "The batch norm after features.0 has no running_var"),
        (_norm_without("running_mean"), r"features.1.weight has the shape \(4,\)"),
    ],
)
def test_what_fits_no_net_is_refused_by_name(arrays, message):
    with pytest.raises(UserError, match=message):
        torch_names.convert(InMemory(arrays))


def test_integers_and_negative_variances_are_refused_when_they_are_read():
    params = random_params("A")
    arrays = torchvision("A", params)
    arrays["features.0.weight"] = arrays["features.0.weight"].astype(np.int64)
    found = torch_names.convert(InMemory(arrays))
    with pytest.raises(UserError, match=r"features.0.weight holds int64 instead of floats"):
        found.layers["conv1_1"].load()
    arrays = torchvision("A", params, norms=random_norms(params))
    arrays["features.1.running_var"][2] = -1
    found = torch_names.convert(InMemory(arrays))
    with pytest.raises(UserError, match="negative variance"):
        found.layers["conv1_1"].load()
