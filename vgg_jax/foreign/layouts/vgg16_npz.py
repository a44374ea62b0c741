"""The names of `vgg16_weights.npz`: conv1_1_W is a kernel and conv1_1_b its bias.

It is the authors' net D, converted from Caffe for TensorFlow.
"""

import dataclasses

from vgg_jax.foreign.layer_chain import KernelAxes, named_layers
from vgg_jax.foreign.net import CAFFE, ForeignNet
from vgg_jax.foreign.tensors import Tensors

_AXES = KernelAxes(conv="HWIO", fc="IO", flattened="HWC")


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a `.npz` in these names, or None if it has no layer conv1_1.

    Raises:
      UserError: Its layers aren't those of one of these nets.
    """
    layers = named_layers(tensors, "_W", "_b", _AXES)
    rgb = dataclasses.replace(CAFFE, bgr=False)
    return ForeignNet("vgg16_weights.npz", layers, rgb, odd_edges="floor") if layers else None
