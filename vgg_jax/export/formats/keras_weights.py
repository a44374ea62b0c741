"""Keras 3's `.weights.h5`, which VGG16 and VGG19 of Keras Applications load.

Their input is BGR of 0-255 minus the mean, as `keras.applications.vgg16.preprocess_input` computes.
"""

import pathlib

from vgg_jax.errors import require
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export import foreign_input
from vgg_jax.export.format import Format
from vgg_jax.export.options import Options
from vgg_jax.foreign.net import CAFFE

MODELS = {"D": "VGG16", "E": "VGG19"}
_FC_NAMES = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def refuse(net: TrainedNet, options: Options) -> None:
    """Checks that a net is VGG16 or VGG19 of Keras Applications, for the same input.

    Raises:
      UserError: It has another architecture, or subtracts another mean.
    """
    del options
    model = net.model
    require(
        model.net in MODELS,
        f"Net {model.net} is not in Keras Applications, which has D (VGG16) and E (VGG19) only. "
        "Export it as .safetensors, .onnx or .stablehlo.",
    )
    foreign_input.refuse_size(
        net, f"Keras Applications' {MODELS[model.net]}", ".safetensors, .onnx or .stablehlo"
    )
    foreign_input.refuse_mean(net, CAFFE, "Keras Applications")


def write(net: TrainedNet, path: pathlib.Path, options: Options) -> None:
    """Writes the layers as Keras numbers them: conv2d, conv2d_1, ..., dense, dense_1, dense_2."""
    import h5py

    del options
    numbers = {"conv2d": 0, "dense": 0}
    with h5py.File(path, "w", locking=False) as file:  # `written_aside` has locked it.
        for name, layer in foreign_input.layers(net, CAFFE):
            kind = "dense" if name in _FC_NAMES else "conv2d"
            number = numbers[kind]
            numbers[kind] += 1
            group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = _FC_NAMES.get(name) or _conv_name(name)
            kernel = layer["kernel"]
            if kind == "dense":  # FC6 takes pool5's values in the order H, W, C, as HWIO has them.
                kernel = kernel.reshape(-1, kernel.shape[-1])
            group["0"], group["1"] = kernel, layer["bias"]


def _conv_name(name: str) -> str:
    """Returns Keras's name of a convolution, for example block3_conv1 for conv3_1."""
    block, index = name.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


def note(net: TrainedNet, options: Options) -> str:
    """Says if the net has ceil pooling, which Keras Applications hasn't."""
    del options
    return foreign_input.ceil_note(net, "that of Keras Applications")


FORMAT = Format(".weights.h5", refuse, write, note, package="h5py")
