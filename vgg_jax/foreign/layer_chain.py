"""The layers of a net from the arrays of a file: their shapes, and how they are read.

Every layout names its arrays differently, and lays kernels out in one of a few ways. Here each
layer's shape is checked against the layer before it, so that a net of another kind is refused by
the layer that doesn't fit.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from vgg_jax.errors import UserError, require, some_of
from vgg_jax.foreign.net import ForeignLayer, LayerArrays
from vgg_jax.foreign.tensors import Tensors

FC_NAMES = ("fc6", "fc7", "fc8")
_OUR_NAME = re.compile(r"conv[1-5]_\d|fc[678]")
_RGB = 3


@dataclasses.dataclass(frozen=True)
class KernelAxes:
    """How a layout lays out its kernels.

    Attributes:
      conv: The axes of a 4-d kernel: "OIHW" or "HWIO".
      fc: The axes of an FC layer's matrix: "OI" or "IO".
      flattened: The order in which FC6 takes pool5's values: "CHW" or "HWC".
    """

    conv: str
    fc: str
    flattened: str


@dataclasses.dataclass(frozen=True)
class FoundLayer:
    """A layer whose arrays have been found in a file.

    Attributes:
      name: Its name in this package: conv1_1 to fc8.
      kernel, bias: The names of its arrays in the file.
    """

    name: str
    kernel: str
    bias: str


def named_layers(
    tensors: Tensors, kernel: str, bias: str, axes: KernelAxes, *, ignored: Sequence[str] = ()
) -> dict[str, ForeignLayer]:
    """Makes the layers of a file that uses this package's names, as many do: conv1_1 to fc8.

    Args:
      tensors: The file's arrays.
      kernel: What follows the layer's name in the name of its kernel, for example "_W".
      bias: The same for the bias.
      axes: How the kernels are laid out.
      ignored: Names of arrays that belong to no layer.

    Returns:
      The layers from the first to the last; none if the file has no conv1_1 in such names.

    Raises:
      UserError: The file has other arrays too, or its layers aren't a net's: see `net_layers`.
    """
    if not tensors.shapes.keys() & {f"conv1_1{kernel}", f"conv1_1{bias}"}:
        return {}
    names, others = set(), []
    for array in tensors.shapes:
        suffix = kernel if array.endswith(kernel) else bias
        name = array.removesuffix(suffix)
        if name != array and _OUR_NAME.fullmatch(name):
            names.add(name)
        elif array not in ignored:
            others.append(array)
    require(
        not others,
        f"These weights have arrays that these nets don't have: {some_of(others)}. Give the "
        "weights of a net of Table 1, whose layers are named conv1_1 to fc8.",
    )
    found = [FoundLayer(name, name + kernel, name + bias) for name in sorted(names)]
    return net_layers(tensors, found, axes)


def net_layers(
    tensors: Tensors, found: Sequence[FoundLayer], axes: KernelAxes
) -> dict[str, ForeignLayer]:
    """Makes a net's layers, from the first to the last.

    An FC layer's kernel may be a matrix, or 4-d as that of a convolution. A matrix may have leading
    axes of 1, and a bias axes of 1.

    Args:
      tensors: The file's arrays.
      found: The layers, from conv1_1 to the last.
      axes: How the kernels are laid out.

    Raises:
      UserError: A kernel or a bias is missing, has another number of axes, or doesn't fit the
        layer before it; or only some of the three FC layers are there.
    """
    fc_names = tuple(layer.name for layer in found if layer.name.startswith("fc"))
    if fc_names not in ((), FC_NAMES) or len(found) == len(fc_names):
        raise UserError(
            f"These weights have the layers {', '.join(layer.name for layer in found)}. A net "
            "needs convolutions, and all or none of fc6, fc7 and fc8. Give the weights of a whole "
            "net."
        )
    layers = {}
    features = _RGB
    for layer in found:
        for array in (layer.kernel, layer.bias):
            if array not in tensors.shapes:
                raise UserError(
                    f"{layer.name} has no array {array}. Give weights with a kernel and a bias for "
                    "each layer."
                )
        to_hwio, shape = _layout(layer, tensors.shapes[layer.kernel], features, axes)
        features = shape[-1]
        if not _is_vector(tensors.shapes[layer.bias], features):
            raise _misfit(
                layer.name, layer.bias, tensors.shapes[layer.bias], f"a bias of {features:,} values"
            )
        layers[layer.name] = ForeignLayer(shape, _loader(tensors, layer, to_hwio))
    return layers


def _layout(
    layer: FoundLayer, shape: tuple[int, ...], features: int, axes: KernelAxes
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int, int, int]]:
    """Returns how a kernel becomes HWIO, and its shape then."""
    is_fc = layer.name in FC_NAMES
    if is_fc and math.prod(shape[:-2]) == 1:
        shape = shape[-2:]
    if is_fc and len(shape) == 2:
        return _matrix_layout(layer, shape, features, axes)
    if len(shape) != 4:
        kinds = "a 4-d kernel" + (" or a matrix" if is_fc else "")
        raise _misfit(layer.name, layer.kernel, shape, kinds)
    order = tuple(axes.conv.index(axis) for axis in "HWIO")
    height, width, inputs, outputs = (shape[axis] for axis in order)
    wanted = f"a square kernel with {features:,} inputs, in the order {axes.conv}"
    if height != width or not height or not outputs or inputs != features:
        raise _misfit(layer.name, layer.kernel, shape, wanted)
    return lambda kernel: kernel.transpose(order), (height, width, inputs, outputs)


def _matrix_layout(
    layer: FoundLayer, shape: tuple[int, ...], features: int, axes: KernelAxes
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int, int, int]]:
    inputs, outputs = (shape[axes.fc.index(axis)] for axis in "IO")
    side = math.isqrt(inputs // features)
    fits = side**2 * features == inputs and side and outputs
    if not fits or (layer.name != "fc6" and side != 1):
        times = " times a square of cells" if layer.name == "fc6" else ""
        wanted = f"a matrix with {features:,} inputs{times}, in the order {axes.fc}"
        raise _misfit(layer.name, layer.kernel, shape, wanted)
    sizes = {"C": features, "H": side, "W": side}
    split = [sizes[axis] for axis in axes.flattened]
    whole = (outputs, *split) if axes.fc == "OI" else (*split, outputs)
    letters = "O" + axes.flattened if axes.fc == "OI" else axes.flattened + "O"
    order = tuple(letters.index(axis) for axis in "HWCO")

    def to_hwio(kernel: np.ndarray) -> np.ndarray:
        return kernel.reshape(whole).transpose(order)

    return to_hwio, (side, side, features, outputs)


def _is_vector(shape: tuple[int, ...], size: int) -> bool:
    return math.prod(shape) == size and (max(shape, default=1) == size)


def _misfit(name: str, array: str, shape: tuple[int, ...], wanted: str) -> UserError:
    return UserError(
        f"{name} can't be a layer of these nets: {array} has the shape {shape}, where {wanted} is "
        "expected. Give the weights of a net of Table 1."
    )


def _loader(
    tensors: Tensors, layer: FoundLayer, to_hwio: Callable[[np.ndarray], np.ndarray]
) -> Callable[[], LayerArrays]:
    def load() -> LayerArrays:
        return {
            "kernel": to_hwio(tensors.read(layer.kernel)),
            "bias": tensors.read(layer.bias).reshape(-1),
        }

    return load
