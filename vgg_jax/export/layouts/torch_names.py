"""The names of torchvision's and timm's VGGs; `vgg_jax.foreign.layouts.torch_names` reads them.

Kernels are OIHW, and matrices are (outputs, inputs). FC6 takes pool5's values in the order C, H, W.
The net's input is (RGB / 255 - mean) / std with torchvision's mean and std.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from vgg_jax.errors import require
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export import foreign_input
from vgg_jax.export.options import Layout
from vgg_jax.foreign.net import TORCHVISION
from vgg_jax.nets.architectures import Layer

NETS = ("A", "B", "D", "E")

# The name of each FC layer. classifier and head have matrices, pre_logits has 4-d kernels.
_FC_NAMES = {
    "torchvision": {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"},
    "timm": {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"},
}
_FOUR_AXES = ("features", "pre_logits")


def refuse(net: TrainedNet, layout: Layout) -> None:
    """Checks that a net is one of torchvision's, for the input that torchvision's take.

    Raises:
      UserError: It is another net, has another width or crop, or subtracts another mean.
    """
    require(
        net.model.net in NETS,
        f"Net {net.model.net} has no names in {layout}, which has {', '.join(NETS)} only. Export "
        "it with --layout=ours, or as .onnx or .stablehlo.",
    )
    foreign_input.refuse_size(net, f"{layout}'s", "--layout=ours, .onnx or .stablehlo")
    foreign_input.refuse_mean(net, TORCHVISION, layout)


def arrays(net: TrainedNet, layout: Layout) -> dict[str, np.ndarray]:
    """Returns the arrays of a net that `refuse` has passed, as views where possible."""
    names = dict(_features(net.model.architecture)) | _FC_NAMES[layout]
    result = {}
    for name, layer in foreign_input.layers(net, TORCHVISION):
        kernel = layer["kernel"].transpose(3, 2, 0, 1)
        if not names[name].startswith(_FOUR_AXES):
            kernel = kernel.reshape(kernel.shape[0], -1)
        result |= {f"{names[name]}.weight": kernel, f"{names[name]}.bias": layer["bias"]}
    return result


def _features(net: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """Yields our name and theirs of each convolution. ReLUs and poolings have numbers too."""
    index = 0
    for layer in net:
        if layer.kind == "conv":
            yield layer.name, f"features.{index}"
            index += 2
        elif layer.kind == "pool":
            index += 1
