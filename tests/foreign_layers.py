"""Layers with random values in this package's layout, for files of other packages' nets."""

import numpy as np

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures

CROP_PX = 64
NUM_CLASSES = 7


def layers(net="D", *, fc=True, seed=0):
    """Returns {name: {"kernel": HWIO, "bias": O}} of a net that is 1/16 as wide.

    No bias is 0 or 1. FC6's kernel covers 2x2 cells, so that orders of flattening differ.
    """
    rng = np.random.default_rng(seed)
    rows = architectures.layers(net, num_classes=NUM_CLASSES, width=1 / 16, crop_px=CROP_PX)
    result = {}
    for row in rows:
        if row.kind == "conv" or (row.kind == "fc" and fc):
            shape = (row.kernel_px, row.kernel_px, row.features_in, row.features)
            scale = np.sqrt(2 / (row.kernel_px**2 * row.features_in))
            result[row.name] = {
                "kernel": (scale * rng.standard_normal(shape)).astype(np.float32),
                "bias": (0.1 + 0.4 * rng.random(row.features)).astype(np.float32),
            }
    return result


def flattened_chw(kernel):
    """Returns an HWIO kernel as a matrix of inputs and outputs, whose inputs are in C,H,W order."""
    return kernel.transpose(2, 0, 1, 3).reshape(-1, kernel.shape[-1])


def flattened_hwc(kernel):
    """Returns an HWIO kernel as a matrix of inputs and outputs, whose inputs are in H,W,C order."""
    return kernel.reshape(-1, kernel.shape[-1])


def check_equal(net, expected):
    """Checks that a ForeignNet's layers are the expected ones, in order and to the bit."""
    assert list(net.layers) == list(expected)
    for name, layer in net.layers.items():
        loaded = layer.load()
        assert layer.kernel_shape == expected[name]["kernel"].shape
        for array in ("kernel", "bias"):
            assert loaded[array].dtype == np.float32
            np.testing.assert_array_equal(loaded[array], expected[name][array])


def refusal(read, path, convert=None):
    """Reads all of a file, and returns what a UserError says; "" if there is none."""
    try:
        tensors = read(path)
        for name, shape in tensors.shapes.items():
            assert tensors.read(name).shape == shape
        if convert is not None:
            convert(tensors)
    except UserError as error:
        return str(error)
    return ""
