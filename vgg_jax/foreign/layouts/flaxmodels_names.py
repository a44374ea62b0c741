"""The names of flaxmodels' nets: conv1_1/weight is a kernel and conv1_1/bias its bias.

The weights are torchvision's, so FC6 takes pool5's values channel by channel.
"""

from vgg_jax.foreign.layer_chain import KernelAxes, named_layers
from vgg_jax.foreign.net import TORCHVISION, ForeignNet
from vgg_jax.foreign.tensors import Tensors

_AXES = KernelAxes(conv="HWIO", fc="IO", flattened="CHW")


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a flaxmodels `.h5`, or None if the names aren't flaxmodels'.

    Raises:
      UserError: Its layers aren't those of one of these nets.
    """
    if "conv1_1/weight" not in tensors.shapes:
        return None
    layers = named_layers(tensors, "/weight", "/bias", _AXES)
    return ForeignNet("flaxmodels", layers, TORCHVISION, odd_edges="floor")
