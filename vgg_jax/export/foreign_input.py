"""A net's arrays for the input of another package."""

from collections.abc import Iterator

import numpy as np

from vgg_jax.errors import require
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.foreign import first_layer
from vgg_jax.foreign.net import LayerArrays, Preprocessing
from vgg_jax.nets import architectures
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.architectures import CELL_PX

CROP_PX = 224  # The crop that other packages' FC layers have.


def refuse_mean(net: TrainedNet, preprocessing: Preprocessing, owner: str) -> None:
    """Checks that a net subtracts the same mean as another package.

    Args:
      net: The net.
      preprocessing: The other package's.
      owner: The other package's name, for the message.

    Raises:
      UserError: The means differ.
    """
    ours, theirs = net.inference.normalise.mean_rgb, preprocessing.mean_rgb
    require(
        net_settings.same_mean(ours, theirs),
        f"The net subtracts the mean RGB ({_shown(ours)}), and {owner} subtracts "
        f"({_shown(theirs)}). Another mean can't be folded into conv1_1 exactly, because its zero "
        "padding would then stand for another colour. Export to a file that holds the net's own "
        "mean: .safetensors with --layout=ours, .onnx or .stablehlo.",
    )


def refuse_size(net: TrainedNet, owner: str, instead: str) -> None:
    """Checks that a net has the channels and FC kernels of Table 1, for a crop of 224 px.

    Args:
      net: The net. Without FC layers, its crop doesn't matter.
      owner: The other package's net, for the message.
      instead: The files that can hold the net, for the message.

    Raises:
      UserError: Its width or its crop is another.
    """
    model = net.model
    crop_px = model.crop_px if "fc6" in net.params else CROP_PX
    require(
        architectures.same_width(model.net, model.width, 1.0) and crop_px == CROP_PX,
        f"The net has a width of {model.width:g} and a crop of {model.crop_px} px, where {owner} "
        f"has a width of 1 and a crop of {CROP_PX} px. Export it as {instead}.",
    )


def ceil_note(net: TrainedNet, owner: str) -> str:
    """Returns a sentence for a net with ceil pooling, which another package doesn't have, or ""."""
    if net.model.pooling == "floor":
        return ""
    return (
        f"The net's pooling is ceil, and {owner} is floor: their class scores differ for images "
        f"whose sides aren't multiples of {CELL_PX} px."
    )


def layers(net: TrainedNet, preprocessing: Preprocessing) -> Iterator[tuple[str, LayerArrays]]:
    """Yields the layers' names and arrays from conv1_1 to fc8, for the input of another package.

    Args:
      net: A net that `refuse_mean` has passed.
      preprocessing: The other package's.

    Yields:
      A name and {"kernel": HWIO, "bias": O}, which share memory with the net where they can.
    """
    for name, arrays in own_layers(net):
        if name == "conv1_1":
            scale = net.inference.normalise.input_scale
            arrays = first_layer.for_their_input(arrays, preprocessing, scale)
        yield name, arrays


def own_layers(net: TrainedNet) -> Iterator[tuple[str, LayerArrays]]:
    """Yields the same as `layers` for this package's own input."""
    for layer in net.model.architecture:
        if layer.name in net.params:  # An imported net may lack the FC layers.
            yield layer.name, {key: np.asarray(x) for key, x in net.params[layer.name].items()}


def _shown(mean: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:g}" for value in mean)
