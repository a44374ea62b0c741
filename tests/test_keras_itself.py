"""Files that Keras itself saves, whose nets then predict the same; skipped without Keras."""

import importlib.util
import pathlib

import foreign_arrays
import foreign_layers
import jax
import ml_dtypes
import numpy as np
import pytest
import small_runs

from vgg_jax.foreign.formats import hdf5, keras_zip
from vgg_jax.foreign.layouts import keras_names
from vgg_jax.foreign.net import CAFFE
from vgg_jax.nets.vgg import VGG

keras_files = pytest.importorskip("keras_files")  # It imports h5py.
if importlib.util.find_spec("keras") is None:  # Only the process that saves files imports it.
    pytest.skip("Keras isn't installed", allow_module_level=True)

MODELS = ("functional", "unnamed", "sequential", "unnamed_sequential", "nested")
SUFFIXES = (".keras", ".h5", ".weights.h5")


@pytest.fixture(scope="module")
def layers():
    return foreign_arrays.random_params("D")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, layers):
    """A folder with the files of every model and format, the images and the predictions."""
    folder = tmp_path_factory.mktemp("keras")
    arrays = {f"{name}/{array}": of[array] for name, of in layers.items() for array in of}
    np.savez(folder / "weights.npz", **arrays)
    side = foreign_arrays.CROP_PX
    rng = np.random.default_rng(2)
    np.save(folder / "images.npy", rng.integers(0, 256, (5, side, side, 3), np.uint8))
    keras_files.write(folder / "applications.h5", keras_files.legacy, layers)
    script = pathlib.Path(__file__).with_name("keras_models.py")
    done = small_runs.run_python(script, folder)
    assert done.returncode == 0, done.stderr
    return folder


def _net(path):
    read = keras_zip.read if path.suffix == ".keras" else hdf5.read
    return keras_names.convert(read(path))


def _scores(net, images):
    """Returns the scores of our VGG with a file's layers, for RGB images of 0-255."""
    to = net.preprocessing or CAFFE
    inputs = ((images - np.float64(to.mean_rgb)) / np.float64(to.std_rgb)).astype(np.float32)
    inputs = inputs[..., ::-1] if to.bgr else inputs
    model = VGG(
        "D",
        num_classes=foreign_arrays.NUM_CLASSES,
        width=1 / 16,
        crop_px=foreign_arrays.CROP_PX,
        pooling=net.odd_edges,
    )
    params = {name: layer.load() for name, layer in net.layers.items()}
    return np.asarray(jax.jit(model.apply)({"params": params}, inputs))[:, 0, 0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_our_net_predicts_what_keras_does(saved, layers, model, suffix):
    net = _net(saved / f"{model}{suffix}")
    foreign_layers.check_equal(net, layers)
    with np.load(saved / "predictions.npz") as predictions:
        expected = predictions[model]
    difference = np.abs(_scores(net, np.load(saved / "images.npy")) - expected).max()
    print(f"{model}{suffix}: {difference / np.abs(expected).max():.1e}")
    assert difference < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_convolutions_alone_are_read(saved, layers, suffix):
    convs = {name: layer for name, layer in layers.items() if name.startswith("conv")}
    foreign_layers.check_equal(_net(saved / f"notop{suffix}"), convs)


def test_keras_reads_our_applications_layout(saved):
    with np.load(saved / "predictions.npz") as predictions:
        np.testing.assert_array_equal(predictions["applications"], predictions["functional"])


def test_bfloat16_becomes_float32(saved, layers):
    net = _net(saved / "bfloat16.weights.h5")
    for name, layer in net.layers.items():
        rounded = layers[name]["kernel"].astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(layer.load()["kernel"], rounded)
