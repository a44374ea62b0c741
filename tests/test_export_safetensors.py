"""Exported safetensors files, which our import and others read."""

import dataclasses
import importlib.util
import json

import exported_nets
import foreign_arrays
import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.export.formats import safetensors as written_by
from vgg_jax.export.layouts import ours as written
from vgg_jax.export.options import Options
from vgg_jax.foreign import opening
from vgg_jax.foreign.formats import safetensors
from vgg_jax.foreign.layouts import ours
from vgg_jax.foreign.net import TORCHVISION
from vgg_jax.nets import architectures

IMAGES = exported_nets.photos(2, 71, 90)
LAYOUTS = ("ours", "torchvision", "timm")
TORCH_NETS = ("A", "B", "D", "E")


def _written(net, path, layout=None):
    """Writes a net, also one that is smaller than the layout's own, which `writer` refuses."""
    written_by.write(net, path, Options(layout=layout))
    return path


@pytest.mark.parametrize("name", architectures.NETS)
def test_our_layout_is_imported_to_the_bit(tmp_path, name):
    net = exported_nets.trained(name, pooling="ceil")
    path = _written(net, tmp_path / "net.safetensors")
    found = exported_nets.imported(path, tmp_path / "run")
    exported_nets.check_params(found, net, first_kernel_ulp=0)
    assert found.model == dataclasses.replace(net.model, num_classes=7)
    assert found.class_names == net.class_names
    assert found.inference.normalise == net.inference.normalise
    np.testing.assert_array_equal(*(one(IMAGES) for one in (found, net)))


def test_another_input_scale_is_folded(tmp_path):
    net = exported_nets.trained("A", scale=1.0)
    path = _written(net, tmp_path / "net.safetensors")
    found = exported_nets.imported(path, tmp_path / "run")
    kernel = exported_nets.params(net)["conv1_1"]["kernel"] * np.float64(70)
    np.testing.assert_array_max_ulp(
        exported_nets.params(found)["conv1_1"]["kernel"], kernel.astype(np.float32), 1
    )
    found, expected = (np.asarray(one(IMAGES)) for one in (found, net))
    assert exported_nets.relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_net_without_fc_layers_is_written_and_read(tmp_path, layout):
    net = exported_nets.trained("D", mean=TORCHVISION.mean_rgb, fc=False)
    path = _written(net, tmp_path / "net.safetensors", layout)
    found = exported_nets.imported(path, tmp_path / "run")
    exported_nets.check_params(found, net, first_kernel_ulp=4)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("name", TORCH_NETS)
def test_torch_names_are_imported_to_the_bit_but_for_the_first_kernel(tmp_path, name, layout):
    net = exported_nets.trained(name, mean=TORCHVISION.mean_rgb)
    path = _written(net, tmp_path / "net.safetensors", layout)
    found = exported_nets.imported(path, tmp_path / "run", 7)
    exported_nets.check_params(found, net, first_kernel_ulp=4)
    assert opening.foreign_net(path).layout == layout
    assert found.model.net == name
    found, expected = (np.asarray(one(IMAGES)) for one in (found, net))
    assert exported_nets.relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("name", TORCH_NETS)
def test_names_and_shapes_are_those_of_torchvision_and_timm(tmp_path, name, layout):
    net = exported_nets.trained(name, mean=TORCHVISION.mean_rgb)
    tensors = safetensors.read(_written(net, tmp_path / "net.safetensors", layout))
    expected = getattr(foreign_arrays, layout)(name, exported_nets.params(net))
    assert tensors.metadata == {"format": "pt"}
    assert tensors.shapes == {key: array.shape for key, array in expected.items()}
    for key, array in expected.items():
        if key != "features.0.weight":
            np.testing.assert_array_equal(tensors.read(key), array)


def test_torch_computes_the_same_for_torchvisions_input(tmp_path):
    torch = pytest.importorskip("torch")
    reader = pytest.importorskip("safetensors.torch")
    net = exported_nets.trained("D", mean=TORCHVISION.mean_rgb)
    arrays = reader.load_file(_written(net, tmp_path / "net.safetensors", "torchvision"))
    images = exported_nets.photos(2, 64, 64)
    x = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32)
    functional, index = torch.nn.functional, 0
    for layer in net.model.architecture:
        if layer.kind == "conv":
            weight, bias = (arrays[f"features.{index}.{key}"] for key in ("weight", "bias"))
            x = functional.relu(functional.conv2d(x, weight, bias, padding=1))
            index += 2
        elif layer.kind == "pool":
            x = functional.max_pool2d(x, 2)
            index += 1
    x = x.flatten(1)
    for index in (0, 3, 6):
        x = x @ arrays[f"classifier.{index}.weight"].T + arrays[f"classifier.{index}.bias"]
        x = functional.relu(x) if index < 6 else x
    difference = exported_nets.relative_difference(x.numpy(), np.asarray(net(images)))
    print(f"{difference:.1e}")
    assert difference < 1e-5


def test_safetensors_itself_reads_every_layout(tmp_path):
    if importlib.util.find_spec("safetensors") is None:
        pytest.skip("safetensors isn't installed")
    from safetensors.numpy import load_file

    net = exported_nets.trained("A", mean=TORCHVISION.mean_rgb)
    for layout in LAYOUTS:
        path = _written(net, tmp_path / f"{layout}.safetensors", layout)
        tensors, found = safetensors.read(path), load_file(path)
        assert found.keys() == tensors.shapes.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, tensors.read(name), strict=True)


def _in_memory(exported, **changed):
    """Returns the arrays and notes of an exported file, with some notes changed or removed."""
    tensors = foreign_arrays.InMemory(written.arrays(exported))
    metadata = written.metadata(exported) | changed
    tensors.metadata = {key: text for key, text in metadata.items() if text is not None}
    return tensors


@pytest.mark.parametrize(
    "changed",
    [
        {"net": None},
        {"mean_rgb": "[1, 2]"},
        {"mean_rgb": "[1, 2, NaN]"},
        {"mean_rgb": "1"},
        {"input_scale": "0"},
        {"input_scale": "Infinity"},
        {"input_scale": "fast"},
        {"odd_edges": '"round"'},
        {"odd_edges": "[[]]"},
        {"class_names": "7"},
        {"class_names": "[" * 100_000},
    ],
)
def test_damaged_notes_are_refused(changed):
    tensors = _in_memory(exported_nets.trained("A"), **changed)
    with pytest.raises(UserError, match="metadata of these weights, which vgg_jax wrote, are dam"):
        ours.convert(tensors)


def test_another_number_of_classes_is_refused():
    tensors = _in_memory(exported_nets.trained("A"), class_names=json.dumps(["a"]))
    with pytest.raises(UserError, match="name 1 classes, and fc8 has 7 outputs"):
        ours.convert(tensors)
