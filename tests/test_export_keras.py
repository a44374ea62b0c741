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
import sys, keras, numpy as np
model = getattr(keras.applications, sys.argv[1])(
    weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None
)
model.load_weights(sys.argv[2])
images = keras.applications.vgg16.preprocess_input(np.load(sys.argv[3]))
np.save(sys.argv[4], model.predict(images, verbose=0))
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
@pytest.mark.parametrize("name", ["D", "E"])
def test_keras_applications_predict_the_same(tmp_path, name):
    net = exported_nets.trained(name, mean=CAFFE.mean_rgb, width=1.0, crop_px=32)
    path = _written(net, tmp_path / "net.weights.h5")
    images = exported_nets.photos(3, 32, 32)
    np.save(tmp_path / "images.npy", images)
    done = small_runs.run_python(
        *("-c", PREDICT, keras_weights.MODELS[name], path),
        *(tmp_path / "images.npy", tmp_path / "found.npy"),
        KERAS_BACKEND="jax",
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npy")
    difference = exported_nets.relative_difference(found, np.asarray(net(images)))
    print(f"{name}: {difference:.1e}")
    assert difference < 1e-5
    os.remove(path)  # It has 130 MB.
