"""Exported ONNX files, run by ONNX Runtime."""

import json

import exported_nets
import numpy as np
import pytest

from vgg_jax.export import exporting
from vgg_jax.export.options import Options
from vgg_jax.nets import architectures

onnx = pytest.importorskip("onnx")

ODD = (2, 97, 131)
SIZES = ((1, 64, 64), ODD, (3, 65, 95))


def _written(net, path, output=None):
    exporting.writer(path, Options(output=output)).write(net)
    onnx.checker.check_model(path, full_check=True)
    return path


def _session(path):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "pooling", "sizes"),
    [
        *[(name, "floor", [ODD]) for name in architectures.NETS if name != "A"],
        *[("A", pooling, SIZES) for pooling in ("floor", "ceil")],
        ("A-LRN", "ceil", [ODD]),  # Between LRN and the next convolution is a pooling.
    ],
)
def test_onnx_runtime_computes_our_score_maps(tmp_path, name, pooling, sizes):
    # The scale of 1 makes the sums of LRN large enough to count.
    scale = 1.0 if name == "A-LRN" else exported_nets.SCALE
    net = exported_nets.trained(name, pooling=pooling, scale=scale)
    session = _session(_written(net, tmp_path / "net.onnx"))
    for size in sizes:
        images = exported_nets.photos(*size)
        (found,) = session.run(None, {"images": images.transpose(0, 3, 1, 2)})
        expected = np.asarray(net.features(images, ["fc8"])["fc8"])
        difference = exported_nets.relative_difference(found.transpose(0, 2, 3, 1), expected)
        print(f"{name} {pooling} {size}: {difference:.1e}")
        assert difference < 1e-5


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
def test_onnx_runtime_computes_our_probabilities(tmp_path, pooling):
    net = exported_nets.trained("A", pooling=pooling)
    session = _session(_written(net, tmp_path / "net.onnx", "probabilities"))
    images = exported_nets.photos(2, 97, 131)
    (found,) = session.run(["prob"], {"images": images.transpose(0, 3, 1, 2)})
    expected = np.asarray(net.features(images, ["prob"])["prob"])
    assert exported_nets.relative_difference(found, expected) < 1e-5


def test_the_file_says_its_input_and_classes(tmp_path):
    net = exported_nets.trained("C")
    model = onnx.load(_written(net, tmp_path / "net.onnx"))
    assert {prop.key: json.loads(prop.value) for prop in model.metadata_props} == {
        "class_names": list(net.class_names)
    }
    assert "RGB of 0-255, at least 64 px" in model.graph.doc_string
    assert [constant.name for constant in model.graph.initializer][:4] == [
        "mean", "input_scale", "conv1_1.weight", "conv1_1.bias"
    ]  # fmt: skip
