"""Files that PyTorch itself writes, and its forward pass. They are skipped without PyTorch."""

import collections
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_arrays import random_norms, random_params, torchvision

from vgg_jax.foreign.formats import safetensors, torch_legacy, torch_zip
from vgg_jax.foreign.layouts import torch_names
from vgg_jax.nets import architectures, vgg

torch = pytest.importorskip("torch")

FORMATS = {"zip": (torch_zip, True), "legacy": (torch_legacy, False)}
DTYPES = ("float64", "float32", "float16", "bfloat16")


@pytest.fixture(params=FORMATS)
def written(request, tmp_path):
    """Saves an object with PyTorch, and reads it here."""
    form, is_zip = FORMATS[request.param]

    def write(value, **options):
        path = tmp_path / "w.pth"
        torch.save(value, path, _use_new_zipfile_serialization=is_zip, **options)
        recognised = [f for f, _ in FORMATS.values() if f.recognises(path.read_bytes()[:65536])]
        assert recognised == [form]
        return form.read(path)

    return write


def _assert_equal(tensors, state):
    assert list(tensors.shapes.items()) == [(name, tuple(t.shape)) for name, t in state.items()]
    for name, tensor in state.items():
        expected = tensor.detach()
        if expected.is_floating_point():
            expected = expected.float()
        np.testing.assert_array_equal(tensors.read(name), expected.numpy(), strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_float_dtype(written, dtype):
    state = {"w": torch.randn(3, 4, 5).to(getattr(torch, dtype)), "n": torch.tensor(7)}
    _assert_equal(written(state), state)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_pickle_protocol(written, protocol):
    state = {"w": torch.randn(3, 4), "v": torch.randn(2)}
    _assert_equal(written({"state_dict": state}, pickle_protocol=protocol), state)


def test_parameters_and_a_modules_state_dict(written):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    _assert_equal(written(module.state_dict()), module.state_dict())
    parameters = collections.OrderedDict(module.named_parameters())
    _assert_equal(written({"model": parameters, "epoch": 3}), parameters)
    parameters["0.weight"].no_decay = True  # PyTorch then pickles it in another way.
    _assert_equal(written(parameters), parameters)


def test_tensors_that_share_or_are_not_contiguous(written):
    whole = torch.randn(6, 10)
    state = {
        "whole": whole,
        "transposed": whole.T,
        "columns": whole[:, 2::3],
        "row": whole[4],
        "permuted": torch.randn(2, 3, 4, 5).permute(2, 3, 1, 0),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 3),
    }
    _assert_equal(written(state), state)


def test_a_checkpoint_with_an_optimiser(written):
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    checkpoint = {"optimizer": optimiser.state_dict(), "state_dict": module.state_dict()}
    _assert_equal(written(checkpoint), module.state_dict())


@pytest.mark.parametrize("dtype", DTYPES)
def test_safetensors_own_files(tmp_path, dtype):
    package = pytest.importorskip("safetensors.torch")
    state = {"a": torch.randn(3, 4).to(getattr(torch, dtype)), "b": torch.tensor(7)}
    package.save_file(state, tmp_path / "w.safetensors", metadata={"format": "pt"})
    tensors = safetensors.read(pathlib.Path(tmp_path / "w.safetensors"))
    _assert_equal(tensors, {name: state[name] for name in tensors.shapes})
    assert len(tensors.shapes) == 2


def _torch_vgg(net, arrays):
    """Builds a net as torchvision does, with its names of modules."""
    shapes = {name: array.shape for name, array in arrays.items()}
    with_norm = any(name.endswith("running_mean") for name in shapes)
    modules = []
    for layer in architectures.layers(net):
        if layer.kind == "pool":
            modules.append(torch.nn.MaxPool2d(2, 2))
        elif layer.kind == "conv":
            outputs, inputs, side, _ = shapes[f"features.{len(modules)}.weight"]
            modules.append(torch.nn.Conv2d(inputs, outputs, side, padding=side // 2))
            if with_norm:
                modules.append(torch.nn.BatchNorm2d(outputs))
            modules.append(torch.nn.ReLU())
    linear = [shapes[f"classifier.{index}.weight"] for index in (0, 3, 6)]
    first, second, third = (torch.nn.Linear(inputs, outputs) for outputs, inputs in linear)
    relu, dropout = torch.nn.ReLU(), torch.nn.Dropout()
    classifier = [first, relu, dropout, second, relu, dropout, third]
    whole = torch.nn.Module()
    whole.features = torch.nn.Sequential(*modules)
    whole.classifier = torch.nn.Sequential(*classifier)
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
    whole.load_state_dict(tensors, strict=True)
    return whole.eval()


def _torch_scores(whole, images, cells):
    """Returns the scores of every place that FC6 fits on, as PyTorch computes each alone."""
    with torch.no_grad():
        features = whole.features(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        height, width = (length - cells + 1 for length in features.shape[2:])
        scores = [
            whole.classifier(features[:, :, y : y + cells, x : x + cells].flatten(1))
            for y in range(height)
            for x in range(width)
        ]
    return torch.stack(scores, 1).reshape(len(images), height, width, -1).numpy()


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("net", ["A", "B", "D", "E"])
def test_the_forward_pass_is_pytorchs(written, net, with_norm):
    params = random_params(net, crop_px=64)
    norms = random_norms(params) if with_norm else None
    whole = _torch_vgg(net, torchvision(net, params, norms=norms))
    found = torch_names.convert(written(whole.state_dict()))
    model = vgg.VGG(net, num_classes=7, width=1 / 16, crop_px=64, pooling=found.odd_edges)
    ours = {name: jax.tree.map(jnp.asarray, layer.load()) for name, layer in found.layers.items()}
    rng = np.random.default_rng(1)
    for size in ((64, 64), (109, 135)):
        images = rng.normal(size=(2, *size, 3)).astype(np.float32)
        expected = _torch_scores(whole, images, cells=2)
        scores = np.asarray(model.apply({"params": ours}, jnp.asarray(images)))
        assert scores.shape == expected.shape
        difference = np.abs(scores - expected).max() / np.abs(expected).max()
        assert difference < 1e-4
