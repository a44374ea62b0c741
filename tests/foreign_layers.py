"""How other packages flatten kernels, and checks of what is read from their files."""

import numpy as np

from vgg_jax.errors import UserError


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
            convert(read(path))  # Some readers give an array once.
    except UserError as error:
        return str(error)
    return ""


def damaged(contents, times, *, first=0):
    """Yields a file's contents with 20 bytes replaced at random, each time anew.

    Args:
      contents: The bytes of the file.
      times: How often.
      first: The first byte that may be replaced.
    """
    rng = np.random.default_rng(1)
    for _ in range(times):
        changed = bytearray(contents)
        for place in rng.integers(first, len(changed), 20):
            changed[place] = rng.integers(256)
        yield changed
