"""The command that exports a workdir's net, and what it refuses."""

import dataclasses
import importlib.util
import shutil

import exported_nets
import forked
import jax.numpy as jnp
import numpy as np
import pytest

import vgg_jax
from vgg_jax.errors import UserError
from vgg_jax.evaluation import loading
from vgg_jax.export import exporting
from vgg_jax.export.formats import keras_weights
from vgg_jax.export.options import Options
from vgg_jax.foreign.net import CAFFE, TORCHVISION
from vgg_jax.runs import run_config


def _export(net, path, **options):
    exporting.writer(path, Options(**options)).write(net)
    return path


def _refusal(net, path, **options):
    """Returns what the error says, after which nothing may have been written."""
    before = {found: found.read_bytes() for found in path.parent.iterdir()}
    with pytest.raises(UserError) as error:
        _export(net, path, **options)
    assert {found: found.read_bytes() for found in path.parent.iterdir()} == before
    return str(error.value)


weights = forked.fixture("vgg_jax.weights")


@pytest.fixture(scope="module")
def net():
    return exported_nets.trained("A", mean=TORCHVISION.mean_rgb)


def test_the_command_exports_what_it_can_import(weights, net, tmp_path):
    workdir, path = tmp_path / "run", tmp_path / "again.safetensors"
    imported = exported_nets.imported(_export(net, tmp_path / "net.safetensors"), workdir)
    config = run_config.load(workdir)
    config.eval.dtype = "bfloat16"  # Exports hold float32 nevertheless.
    run_config.save(config, workdir)
    assert vgg_jax.load(workdir).model.dtype == jnp.bfloat16

    done = weights("export", workdir, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path} holds net A of {workdir}, step 0.\n"
    found = exported_nets.imported(path, tmp_path / "second")
    exported_nets.check_params(found, imported, first_kernel_ulp=0)

    written = path.read_bytes()
    again = weights("export", workdir, path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert path.read_bytes() == written

    for arguments, said in (
        (("export", workdir, tmp_path / "x.pth"), "no suffix of an exported file"),
        (("export", workdir), "export WORKDIR FILE"),
        (("export", workdir, tmp_path / "x.onnx", "--net=A"), "--net is for import only"),
        (("import", path, workdir, "--layout=timm"), "--layout is for export only"),
        (("export", tmp_path / "absent", tmp_path / "x.safetensors"), "There is no checkpoint"),
    ):
        done = weights(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
    assert not [*tmp_path.glob("x*")]


def test_an_unknown_suffix_is_refused_with_the_list(net, tmp_path):
    for name in ("net.pth", "net.h5", "net", "net.onnx.gz"):
        said = _refusal(net, tmp_path / name)
        assert name in said
        assert ".weights.h5, .onnx, .safetensors, .stablehlo" in said


def test_a_file_that_exists_is_not_overwritten(net, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"mine")
    assert "exists with other contents, and is not overwritten" in _refusal(net, path)
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        _export(net, tmp_path / "a.onnx")


@pytest.mark.parametrize(("name", "package"), [("net.safetensors", None), ("net.onnx", "onnx")])
def test_the_same_net_may_be_exported_again(net, tmp_path, name, package):
    if package:
        pytest.importorskip(package)
    first = _export(net, tmp_path / name).read_bytes()
    assert _export(net, tmp_path / name).read_bytes() == first


def test_a_missing_folder_is_named(net, tmp_path):
    with pytest.raises(UserError, match=f"There is no folder {tmp_path}/absent"):
        _export(net, tmp_path / "absent/net.onnx")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("net.onnx", {"layout": "timm"}, "--layout=timm is for .safetensors files only"),
        ("net.safetensors", {"output": "map"}, "--output=map is for .onnx and .stablehlo files"),
    ],
)
def test_an_option_of_another_format_is_refused(net, tmp_path, name, options, said):
    assert said in _refusal(net, tmp_path / name, **options)


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
@pytest.mark.parametrize("name", ["A-LRN", "B-5x5", "C"])
def test_nets_that_torchvision_lacks_are_refused(tmp_path, name, layout):
    net = exported_nets.trained(name, mean=TORCHVISION.mean_rgb)
    said = _refusal(net, tmp_path / "net.safetensors", layout=layout)
    assert f"Net {name} has no names in {layout}, which has A, B, D, E only" in said


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_another_mean_than_torchvisions_is_refused(tmp_path, layout):
    size = {"width": 1.0, "crop_px": 224, "fc": False}
    net = exported_nets.trained("A", mean=CAFFE.mean_rgb, **size)
    said = _refusal(net, tmp_path / "net.safetensors", layout=layout)
    assert "subtracts the mean RGB (123.68, 116.779, 103.939), and " + layout in said
    assert "(123.675, 116.28, 103.53)" in said


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
@pytest.mark.parametrize("size", [{"width": 1 / 16}, {"crop_px": 96}, {"fc": False}])
def test_sizes_that_torchvision_lacks_are_refused(tmp_path, size, layout):
    size = {"width": 1 / 64, "crop_px": 224} | size
    net = exported_nets.trained("A", mean=TORCHVISION.mean_rgb, **size)
    said = _refusal(net, tmp_path / "net.safetensors", layout=layout)
    assert (
        f"width of {size['width']:g} and a crop of {size['crop_px']} px, where {layout}'s" in said
    )
    assert "--layout=ours" in said


@pytest.mark.parametrize("layout", ["ours", "torchvision", "timm"])
@pytest.mark.parametrize("pooling", ["floor", "ceil"])
def test_ceil_pooling_that_a_layout_lacks_is_said(tmp_path, layout, pooling):
    net = exported_nets.trained(
        "A", mean=TORCHVISION.mean_rgb, pooling=pooling, width=1.0, fc=False
    )
    note = exporting.writer(tmp_path / "net.safetensors", Options(layout=layout)).write(net)
    lacks = pooling == "ceil" and layout != "ours"
    assert (f"The net's pooling is ceil, and {layout}'s is floor" in note) == lacks
    assert bool(note) == lacks


@pytest.mark.parametrize(("pooling", "said"), [("floor", ""), ("ceil", "multiples of 32 px")])
def test_ceil_pooling_that_keras_lacks_is_said(pooling, said):
    net = exported_nets.trained("D", pooling=pooling)
    note = keras_weights.note(net, Options())
    assert said in note
    assert bool(note) == bool(said)


def test_a_net_is_refused_before_its_parameters_are_read(weights, net, tmp_path):
    workdir = tmp_path / "run"
    exported_nets.imported(_export(net, tmp_path / "net.safetensors"), workdir)
    shutil.rmtree(workdir / "checkpoints/0/params/d")
    outline = loading.outline(workdir)
    assert repr(outline) == repr(net).replace("step 3", "step 0")
    done = weights("export", workdir, tmp_path / "timm.safetensors", "--layout=timm")
    assert done.returncode == 2
    assert "has a width of 0.0625 and a crop of 64 px, where timm's has" in done.stderr


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("A", {}, "Net A is not in Keras Applications, which has D (VGG16) and E (VGG19) only"),
        ("D", {}, "a width of 0.0625 and a crop of 64 px, where Keras Applications' VGG16 has a"),
        ("E", {"crop_px": 224}, "a width of 0.0625 and a crop of 224 px, where"),
    ],
)
def test_nets_that_keras_lacks_are_refused(tmp_path, name, size, said):
    pytest.importorskip("h5py")
    net = exported_nets.trained(name, mean=CAFFE.mean_rgb, **size)
    assert said in _refusal(net, tmp_path / "net.weights.h5")


def test_another_mean_than_kerass_is_refused():
    net = exported_nets.trained("D", width=1.0, crop_px=224, num_classes=2, fc=False)
    with pytest.raises(UserError, match=r"\(120.25, 110.5, 101.125\), and Keras Applications"):
        keras_weights.refuse(net, Options())


@pytest.mark.parametrize("name", ["net.onnx", "net.stablehlo"])
def test_a_program_needs_fc_layers(tmp_path, name):
    pytest.importorskip("onnx" if name == "net.onnx" else "flatbuffers")
    net = exported_nets.trained("D", fc=False)
    assert "imported without FC layers" in _refusal(net, tmp_path / name)


def test_bfloat16_is_refused(tmp_path):
    net = exported_nets.trained("A", dtype=jnp.bfloat16)
    said = _refusal(net, tmp_path / "net.safetensors")
    assert "computes in bfloat16, and exported files hold float32" in said


@pytest.mark.parametrize("name", ["net.onnx", "net.weights.h5"])
def test_a_missing_package_is_named(net, tmp_path, monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in ("onnx", "h5py") else found(name, *more),
    )
    package = {"net.onnx": "onnx", "net.weights.h5": "h5py"}[name]
    said = _refusal(net, tmp_path / name)
    assert f"{name} can be written only with {package}, which isn't installed" in said
    assert "pip install -e '.[weights]'" in said


def test_a_failure_leaves_nothing_half_written(net, tmp_path):
    def fail(net, path, options):
        path.write_bytes(np.zeros(5).tobytes())
        raise OSError("The disk is full.")

    writer = exporting.writer(tmp_path / "net.safetensors", Options())
    writer = dataclasses.replace(writer, format=dataclasses.replace(writer.format, write=fail))
    with pytest.raises(OSError, match="disk is full"):
        writer.write(net)
    assert not [*tmp_path.iterdir()]
