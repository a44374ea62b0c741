"""The names of the authors' Caffe models: conv1_1/0 is a kernel and conv1_1/1 its bias."""

from vgg_jax.foreign.layer_chain import KernelAxes, named_layers
from vgg_jax.foreign.net import CAFFE, ForeignNet
from vgg_jax.foreign.tensors import Tensors

_AXES = KernelAxes(conv="OIHW", fc="OI", flattened="CHW")


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a `.caffemodel`, or None if it has no layer conv1_1.

    Raises:
      UserError: Its layers aren't those of one of these nets.
    """
    layers = named_layers(tensors, "/0", "/1", _AXES)
    net = "A-LRN" if "lrn" in tensors.metadata else None
    return ForeignNet("Caffe", layers, CAFFE, odd_edges="ceil", net=net) if layers else None
