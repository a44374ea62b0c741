"""The names of Keras's layers, in every format that Keras has written.

A kernel is named `.../kernel`, `.../kernel:0`, `..._W_1:0` or, in Keras 3, `.../vars/0`. The layers
of Keras Applications are block1_conv1 to block5_conv4, fc1, fc2 and predictions. Layers with other
names are taken in their order, as those of the net of Table 1 with as many convolutions.
"""

import re
from collections.abc import Mapping, Sequence

from vgg_jax.errors import UserError, require, some_of
from vgg_jax.foreign.layer_chain import FC_NAMES, FoundLayer, KernelAxes, net_layers
from vgg_jax.foreign.layouts import ours
from vgg_jax.foreign.net import CAFFE, ForeignNet
from vgg_jax.foreign.tensors import Tensors
from vgg_jax.nets import architectures

_AXES = KernelAxes(conv="HWIO", fc="IO", flattened="HWC")
_ARRAY = re.compile(
    r"(?P<layer>.+)(/vars/(?P<index>[01])|/(?P<name>kernel|bias)(:0)?|_(?P<old>[Wb])(_\d+)?:0)"
)
_ROLES = {"0": "kernel", "1": "bias", "W": "kernel", "b": "bias"}
_APPLICATIONS = re.compile(r"(?:.*/)?block([1-5])_conv(\d)(?:_\d+)?(?:/.*)?")
_OPTIMIZER = "optimizer/"

_Arrays = Mapping[str, str]  # The arrays of a layer: {"kernel": name, "bias": name}.


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a Keras file, or None if it has no kernel in Keras's names.

    The preprocessing is that of Keras Applications if the layers have its names, otherwise None.

    Raises:
      UserError: The layers aren't those of one of these nets.
    """
    if ours.has_names(tensors):  # They match Keras's.
        return None
    arrays, others = _by_layer(tensors)
    if not any("kernel" in layer for layer in arrays.values()):
        return None
    require(
        not others,
        f"These weights have arrays that these nets don't have: {some_of(others)}. Give the "
        "weights of a net that has only convolutions and FC layers, with biases.",
    )
    dense = [
        layer
        for layer, of in arrays.items()
        if "kernel" in of and len(tensors.shapes[of["kernel"]]) == 2
    ]
    convs = [layer for layer in arrays if layer not in dense]
    names = _applications_names(convs)
    applications = names is not None
    if names is None:
        names = _names_in_order(convs)
    require(
        len(dense) in (0, len(FC_NAMES)),
        f"These weights have {len(dense)} FC layers ({some_of(dense)}), where a net of Table 1 has "
        "three. Save the convolutions alone, as Keras's include_top=False does.",
    )
    names = {**names, **dict(zip(FC_NAMES, dense, strict=False))}
    found = [
        FoundLayer(
            name,
            arrays[layer].get("kernel", f"{layer}/kernel"),
            arrays[layer].get("bias", f"{layer}/bias"),
        )
        for name, layer in names.items()
    ]
    layers = net_layers(tensors, found, _AXES)
    usual = CAFFE if applications else None
    return ForeignNet(
        "Keras", layers, usual, odd_edges="floor", preprocessing_is_usual=applications
    )


def _by_layer(tensors: Tensors) -> tuple[dict[str, _Arrays], list[str]]:
    """Returns the layers' arrays by the layers' paths, and the arrays that are none of theirs."""
    arrays: dict[str, dict[str, str]] = {}
    others = []
    for array in tensors.shapes:
        if array.startswith(_OPTIMIZER):
            continue
        match = _ARRAY.fullmatch(array)
        if match is None:
            others.append(array)
            continue
        role = match["name"] or _ROLES[match["index"] or match["old"]]
        arrays.setdefault(match["layer"], {})[role] = array
    return arrays, others


def _applications_names(convs: Sequence[str]) -> dict[str, str] | None:
    """Returns the convolutions by this package's names.

    Returns None if one has another name, or if two have the same, as in a model of two nets.
    """
    names = {}
    for layer in convs:
        match = _APPLICATIONS.fullmatch(layer)
        name = match and f"conv{match[1]}_{match[2]}"
        if name is None or name in names:
            return None
        names[name] = layer
    return {name: names[name] for name in sorted(names)} or None


def _names_in_order(convs: Sequence[str]) -> dict[str, str]:
    """Returns the convolutions by this package's names, in their order in the file."""
    numbers = {}
    for net in architectures.NETS:
        ours = [layer.name for layer in architectures.layers(net) if layer.kind == "conv"]
        if len(ours) == len(convs):
            return dict(zip(ours, convs, strict=True))
        numbers[len(ours)] = net
    raise UserError(
        f"These weights have {len(convs)} convolutions ({some_of(convs)}), where a net of Table 1 "
        f"has {', '.join(map(str, sorted(numbers)))}. Give the weights of such a net."
    )
