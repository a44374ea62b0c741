"""Exported `.weights.h5` files, which Keras Applications load."""

import importlib.util
import os

import exported_nets
import numpy as np
import pytest
import small_runs

from vgg_jax.export.formats import keras_weights
from vgg_jax.export.options import Options
from vgg_jax.foreign import opening
from vgg_jax.foreign.net import CAFFE

pytest.importorskip("h5py")

# Applications' own nets at full width. Their smallest images are of 32 px.
PREDICT = """
import pathlib, sys, keras, numpy as np
folder = pathlib.Path(sys.argv[1])
images = keras.applications.vgg16.preprocess_input(np.load(folder / "images.npy"))
for name in sys.argv[2:]:
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None
    )
    model.load_weights(folder / f"{name}.weights.h5")
    np.save(folder / f"{name}.npy", model.predict(images, verbose=0))
"""


def _written(net, path):
    keras_weights.write(net, path, Options())
    return path


@pytest.mark.parametrize("name", ["D", "E"])
def test_our_import_reads_the_same_net(tmp_path, name):
    net = exported_nets.trained(name, mean=CAFFE.mean_rgb)
    path = _written(net, tmp_path / "net.weights.h5")
    found = exported_nets.imported(path, tmp_path / "run", 7)
    exported_nets.check_params(found, net, first_kernel_ulp=4)
    assert opening.foreign_net(path).preprocessing == CAFFE
    assert found.model.net == name
    assert found.inference.normalise.mean_rgb == CAFFE.mean_rgb


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras isn't installed")
def test_keras_applications_predict_the_same(tmp_path):
    images, expected = exported_nets.photos(3, 32, 32), {}
    np.save(tmp_path / "images.npy", images)
    for name in ("D", "E"):
        net = exported_nets.trained(name, mean=CAFFE.mean_rgb, width=1.0, crop_px=32)
        model = keras_weights.MODELS[name]
        _written(net, tmp_path / f"{model}.weights.h5")
        expected[model] = np.asarray(net(images))
    # With NumPy Keras compiles nothing to draw the values that the file's replace.
    done = small_runs.run_python("-c", PREDICT, tmp_path, *expected, KERAS_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    for model, scores in expected.items():
        difference = exported_nets.relative_difference(np.load(tmp_path / f"{model}.npy"), scores)
        print(f"{model}: {difference:.1e}")
        assert difference < 1e-5
        os.remove(tmp_path / f"{model}.weights.h5")  # It has 130 MB.
