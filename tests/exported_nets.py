"""Trained nets for tests of exports, and what they compute."""

import pathlib

import jax
import numpy as np
from foreign_arrays import random_params
from ml_collections import FrozenConfigDict

import vgg_jax
from vgg_jax import base_config
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.foreign import importing
from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG

MEAN = (120.25, 110.5, 101.125)
SCALE = 1 / 70


def trained(net, *, mean=MEAN, scale=SCALE, pooling="floor", dtype=np.float32, fc=True, **size):
    """Returns a net with random weights, as `vgg_jax.load` would.

    Args:
      net: One of `architectures.NETS`.
      mean: The mean RGB.
      scale: The input scale.
      pooling: The odd edges.
      dtype: The dtype of its arithmetic.
      fc: Whether it has FC layers; without them, it has no classes.
      size: The width, crop_px and num_classes, where they aren't 1/16, 64 and 7.
    """
    size = {"width": 1 / 16, "crop_px": 64, "num_classes": 7} | size
    model = VGG(net, dtype=dtype, pooling=pooling, **size)
    mesh = sharding.make_mesh()
    inference = Inference(
        model=model,
        params=sharding.put_replicated(random_params(net, fc=fc, **size), mesh),
        mesh=mesh,
        normalise=Normalise(mean, scale),
    )
    classes = tuple(f"class {index}, 'é'" for index in range(fc * size["num_classes"]))
    return TrainedNet(inference, classes, FrozenConfigDict(base_config.get_config()), step=3)


def photos(*shape, seed=0):
    """Draws float32 images (b, h, w, 3) of whole numbers 0-255."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.float32)


def imported(path, workdir, num_classes=0):
    """Imports an exported file, and loads the workdir.

    Args:
      path: The file.
      workdir: The folder to write.
      num_classes: The number of classes to name; 0 if the file names them.
    """
    classes = None
    if num_classes:
        classes = str(workdir.with_suffix(".txt"))
        pathlib.Path(classes).write_text("\n".join(map(str, range(num_classes))))
    importing.import_file(path, workdir, None, importing.Choices(classes=classes))
    return vgg_jax.load(workdir)


def params(net):
    """Returns the parameters as NumPy arrays."""
    return jax.tree.map(np.asarray, net.params)


def check_params(found, net, *, first_kernel_ulp):
    """Checks that a net has the parameters of another to the bit, except for the first kernel.

    Args:
      found: The net.
      net: The other net.
      first_kernel_ulp: By how many units in the last place values of conv1_1's kernel may differ.
    """
    found, expected = params(found), params(net)
    assert found.keys() == expected.keys()
    for name, layer in expected.items():
        ulp = first_kernel_ulp if name == "conv1_1" else 0
        np.testing.assert_array_max_ulp(found[name]["kernel"], layer["kernel"], ulp)
        np.testing.assert_array_equal(found[name]["bias"], layer["bias"], strict=True)


def relative_difference(found, expected):
    """Returns max |difference| / max |expected|."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()
