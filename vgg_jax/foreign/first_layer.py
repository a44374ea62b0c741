"""Folds the preprocessing of images into the first convolution, for this package or another."""

import numpy as np

from vgg_jax.foreign.net import LayerArrays, Preprocessing


def for_our_input(layer: LayerArrays, preprocessing: Preprocessing, scale: float) -> LayerArrays:
    """Returns conv1_1 for the input of this package, (RGB - mean) * scale.

    The result is exact except for rounding, because zero padding stays zero: the mean is subtracted
    before the convolution in both.

    Args:
      layer: conv1_1 for the input that `preprocessing` describes.
      preprocessing: The other package's.
      scale: The input scale of the workdir: see `nets.settings.input_scale`.
    """
    kernel = layer["kernel"].astype(np.float64)
    if preprocessing.bgr:
        kernel = kernel[:, :, ::-1]
    kernel = kernel / (np.array(preprocessing.std_rgb)[:, None] * scale)
    return {"kernel": np.ascontiguousarray(kernel, np.float32), "bias": layer["bias"]}


def for_their_input(layer: LayerArrays, preprocessing: Preprocessing, scale: float) -> LayerArrays:
    """Inverts `for_our_input`, except for rounding.

    Both inputs must subtract the same mean. Another one can't be moved into the bias, because the
    convolution's padding would then stand for another colour.

    Args:
      layer: conv1_1 for (RGB - mean) * scale.
      preprocessing: The other package's.
      scale: The input scale of the workdir.
    """
    kernel = layer["kernel"] * (np.array(preprocessing.std_rgb)[:, None] * scale)
    if preprocessing.bgr:
        kernel = kernel[:, :, ::-1]
    return {"kernel": np.ascontiguousarray(kernel, np.float32), "bias": layer["bias"]}
