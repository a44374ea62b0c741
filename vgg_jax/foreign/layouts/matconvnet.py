"""The names of MatConvNet's nets: conv1_1/filters is a kernel and conv1_1/biases its bias.

Their averageImage is the mean that they subtract. It has three values, or those of each pixel. The
mean over pixels is taken then, because a net that is applied to whole images needs one colour.
"""

import math

import numpy as np

from vgg_jax.errors import require
from vgg_jax.foreign.layer_chain import KernelAxes, named_layers
from vgg_jax.foreign.net import ForeignNet, Preprocessing
from vgg_jax.foreign.tensors import Tensors

_AXES = KernelAxes(conv="HWIO", fc="IO", flattened="HWC")
_AVERAGE_IMAGE = "averageImage"


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a MatConvNet `.mat`, or None if it has no layer conv1_1.

    The preprocessing is None if the file has no averageImage.

    Raises:
      UserError: Its layers aren't those of one of these nets, or averageImage has another shape.
    """
    layers = named_layers(tensors, "/filters", "/biases", _AXES, ignored=(_AVERAGE_IMAGE,))
    if not layers:
        return None
    odd_edges = tensors.metadata["odd_edges"]
    return ForeignNet("MatConvNet", layers, _preprocessing(tensors), odd_edges=odd_edges)


def _preprocessing(tensors: Tensors) -> Preprocessing | None:
    shape = tensors.shapes.get(_AVERAGE_IMAGE)
    if shape is None:
        return None
    pixels = len(shape) == 3 and shape[-1] == 3 and 0 not in shape
    require(
        pixels or (max(shape, default=0) == 3 and math.prod(shape) == 3),
        f"{_AVERAGE_IMAGE} has the shape {shape}, where three values for each pixel or for all are "
        "expected. Give the .mat of a net for RGB images.",
    )
    red, green, blue = tensors.read(_AVERAGE_IMAGE).reshape(-1, 3).mean(0, np.float64).tolist()
    return Preprocessing(bgr=False, mean_rgb=(red, green, blue), std_rgb=(1.0, 1.0, 1.0))
