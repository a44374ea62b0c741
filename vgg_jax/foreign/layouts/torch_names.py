"""The names of torchvision's and timm's VGGs, such as features.0.weight and classifier.0.weight.

Kernels are OIHW, and matrices are (outputs, inputs). FC6 takes pool5's values in the order C, H, W.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping

import numpy as np

from vgg_jax.errors import UserError, some_of
from vgg_jax.foreign import recognise
from vgg_jax.foreign.batch_norm import BatchNorm, fold
from vgg_jax.foreign.net import TORCHVISION, ForeignLayer, ForeignNet, LayerArrays
from vgg_jax.foreign.recognise import KernelShape
from vgg_jax.foreign.tensors import Tensors

# DataParallel, also of the features alone; Lightning; torch.compile.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|model|_orig_mod)\.")
_ARRAY = re.compile(
    r"(features\.\d{1,4}|classifier\.\d{1,4}|pre_logits\.fc[12]|head\.fc)"
    r"\.(weight|bias|running_mean|running_var)"
)
_COUNTERS = ("num_batches_tracked", "n_averaged")  # Numbers that no layer computes with.
_NORM = ("running_mean", "running_var", "weight", "bias")
_EPSILON = 1e-5  # torch.nn.BatchNorm2d's.

Module = Mapping[str, str]  # The full names of a module's arrays, by "weight", "bias" and so on.


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A convolution or an FC layer, whose kernel has the given shape in HWIO."""

    kernel_shape: KernelShape
    arrays: Module
    norm: Module | None


def convert(tensors: Tensors) -> ForeignNet | None:
    """Finds the net of a file with these names, in any nesting of module., model. and _orig_mod.

    Returns:
      The net, or None if the file has no convolution of such a name. `ForeignLayer.load` returns
      kernels that are views in another order than C.

    Raises:
      UserError: The file has other arrays too, lacks some, or its shapes are of no net of Table 1.
    """
    if not any(
        re.search(r"(^|\.)features\.\d+\.weight$", _WRAPPERS.sub("", name)) and len(shape) == 4
        for name, shape in tensors.shapes.items()
    ):
        return None
    modules = _modules(tensors.shapes)
    convolutions = _convolutions(tensors.shapes, modules)
    fully_connected = _fully_connected(tensors.shapes, modules, convolutions)
    layers = (*convolutions, *fully_connected)
    found = recognise.net_of(
        [layer.kernel_shape for layer in convolutions],
        [layer.kernel_shape for layer in fully_connected],
    )
    return ForeignNet(
        layout="timm" if "head.fc" in modules else "torchvision",
        layers={
            name: ForeignLayer(layer.kernel_shape, functools.partial(_load, tensors, layer))
            for name, layer in zip(found.names, layers, strict=True)
        },
        preprocessing=TORCHVISION,
        odd_edges="floor",
        preprocessing_is_usual=True,
        batch_norm=any(layer.norm for layer in layers),
    )


def _modules(names: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Groups the arrays by their modules, in the modules' order.

    Raises:
      UserError: An array is of no VGG, or is there twice in different wrappers.
    """
    modules: dict[str, dict[str, str]] = {}
    others = []
    for full in names:
        bare = _WRAPPERS.sub("", full)
        array = _ARRAY.fullmatch(bare)
        if array is None:
            if bare.rpartition(".")[2] not in _COUNTERS:
                others.append(full)
        elif modules.setdefault(array[1], {}).setdefault(array[2], full) != full:
            raise UserError(
                f"These weights have {bare} twice: as {modules[array[1]][array[2]]} and as {full}. "
                "Save the state_dict() of one net alone."
            )
    if others:
        raise UserError(
            f"These weights have arrays that no VGG of torchvision or timm has: {some_of(others)}. "
            "Give the weights of a VGG."
        )
    return dict(sorted(modules.items(), key=lambda item: _order(item[0])))


def _order(module: str) -> tuple[str, int]:
    """Sorts features before FC layers, and each by their numbers; head.fc comes last."""
    kind, _, number = module.partition(".")
    kind = {"features": "0", "head": "2"}.get(kind, "1")
    return kind, int(re.sub(r"\D", "", number) or 0)


def _convolutions(
    shapes: Mapping[str, tuple[int, ...]], modules: Mapping[str, Module]
) -> list[_Layer]:
    """Finds the convolutions, each with the batch norm that follows it at once."""
    norms = {name: arrays for name, arrays in modules.items() if "running_mean" in arrays}
    names = [name for name in modules if name.startswith("features") and name not in norms]
    layers = []
    for name in names:
        arrays = modules[name]
        kernel = _shape(shapes, name, arrays, "weight")
        if len(kernel) != 4:
            raise UserError(f"{name}.weight has the shape {kernel}. A convolution's has four axes.")
        outputs, inputs, height, width = kernel
        norm = norms.pop(f"features.{int(name.partition('.')[2]) + 1}", None)
        if norm is None or "bias" in arrays:
            _check_vectors(shapes, name, arrays, ("bias",), outputs)
        if norm is not None:
            _check_vectors(shapes, f"The batch norm after {name}", norm, _NORM, outputs)
        layers.append(_Layer((height, width, inputs, outputs), arrays, norm))
    if norms:
        raise UserError(
            f"These weights have batch norm that follows no convolution: {some_of([*norms])}. "
            "Only batch norm right after a convolution can be folded into it."
        )
    return layers


def _fully_connected(
    shapes: Mapping[str, tuple[int, ...]],
    modules: Mapping[str, Module],
    convolutions: list[_Layer],
) -> list[_Layer]:
    """Finds the FC layers, as convolutions."""
    layers: list[_Layer] = []
    features = convolutions[-1].kernel_shape[3]
    for name, arrays in modules.items():
        if name.startswith("features"):
            continue
        kernel = _shape(shapes, name, arrays, "weight")
        if len(kernel) not in (2, 4):
            raise UserError(f"{name}.weight has the shape {kernel}. An FC layer's has two axes.")
        outputs, inputs, *sides = kernel
        if not sides and not layers:
            side = math.isqrt(inputs // max(features, 1))
            if side * side * features != inputs:
                raise UserError(
                    f"{name}.weight has {inputs:,} inputs, which are no square of cells with the "
                    f"{features} channels of the last convolution."
                )
            inputs, sides = features, [side, side]
        _check_vectors(shapes, name, arrays, ("bias",), outputs)
        height, width = sides or (1, 1)
        layers.append(_Layer((height, width, inputs, outputs), arrays, None))
    return layers


def _shape(
    shapes: Mapping[str, tuple[int, ...]], module: str, arrays: Module, array: str
) -> tuple[int, ...]:
    if array not in arrays:
        raise UserError(
            f"{module} has no {array} in these weights. Give the weights of a whole net."
        )
    return shapes[arrays[array]]


def _check_vectors(
    shapes: Mapping[str, tuple[int, ...]],
    module: str,
    arrays: Module,
    wanted: tuple[str, ...],
    length: int,
) -> None:
    for array in wanted:
        shape = _shape(shapes, module, arrays, array)
        if shape != (length,):
            raise UserError(
                f"{module} has a {array} of shape {shape} in these weights, where its kernel needs "
                f"{(length,)}."
            )


def _load(tensors: Tensors, layer: _Layer) -> LayerArrays:
    """Reads a layer; its batch norm becomes part of the kernel and the bias."""
    height, width, inputs, outputs = layer.kernel_shape
    kernel = _floats(tensors, layer.arrays["weight"])
    kernel = kernel.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
    bias = np.zeros(outputs, np.float32)  # A convolution before batch norm may have none.
    if "bias" in layer.arrays:
        bias = _floats(tensors, layer.arrays["bias"])
    if layer.norm is None:
        return {"kernel": kernel, "bias": bias}
    mean, variance, scale, shift = (_floats(tensors, layer.norm[array]) for array in _NORM)
    return fold(kernel, bias, BatchNorm(mean, variance, scale, shift, _EPSILON))


def _floats(tensors: Tensors, name: str) -> np.ndarray:
    values = tensors.read(name)
    if values.dtype != np.float32:
        raise UserError(f"{name} holds {values.dtype} instead of floats in these weights.")
    return values
