"""This package's own names in safetensors files; `vgg_jax.foreign.layouts.ours` reads them."""

import numpy as np

from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export import foreign_input
from vgg_jax.foreign.layouts.ours import BIAS, KERNEL
from vgg_jax.foreign.own_notes import OwnNotes


def arrays(net: TrainedNet) -> dict[str, np.ndarray]:
    """Returns a net's arrays, conv1_1/kernel to fc8/bias. All kernels are HWIO."""
    result = {}
    for name, layer in foreign_input.own_layers(net):
        result |= {name + KERNEL: layer["kernel"], name + BIAS: layer["bias"]}
    return result


def metadata(net: TrainedNet) -> dict[str, str]:
    """Returns the notes of the file: the net, its input and its classes."""
    normalise = net.inference.normalise
    return OwnNotes(
        net=net.model.net,
        crop_px=net.model.crop_px,
        mean_rgb=normalise.mean_rgb,
        input_scale=normalise.input_scale,
        odd_edges=net.model.pooling,
        class_names=net.class_names,
    ).to_metadata()
