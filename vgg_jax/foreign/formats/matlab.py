"""MatConvNet's `.mat` files of SimpleNN nets, such as `imagenet-vgg-verydeep-16.mat`.

Arrays are named LAYER/filters and LAYER/biases in files of all ages, and averageImage. They are
read in one go and stay in memory, because MATLAB compresses a file's layers together. The metadata
say what pooling does with an odd last row or column: "odd_edges" is floor or ceil.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from vgg_jax.errors import UserError, require
from vgg_jax.foreign import mat5
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.tensors import Tensors

_AVERAGE_IMAGE = "averageImage"
_ARRAYS = ("filters", "biases")
_ODD_EDGES = {(0, 0, 0, 0): "floor", (0, 1, 0, 1): "ceil"}  # By the poolings' padding.
# Layers that these nets have, with those that are for training alone.
_KINDS = ("conv", "relu", "pool", "softmax", "dropout", "softmaxloss")


class MatlabTensors(Tensors):
    """The arrays of a `.mat`, which are in memory until they are read."""

    def __init__(self, arrays: dict[str, np.ndarray], odd_edges: str) -> None:
        self._arrays = arrays
        self.metadata = {"odd_edges": odd_edges}
        self.shapes = {name: array.shape for name, array in arrays.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns an array as float32, and releases it: each can be read once."""
        return self._arrays.pop(name).astype(np.float32, copy=False)


def recognises(head: bytes) -> bool:
    """Returns whether a file is a MATLAB file of version 5 or later."""
    return head.startswith(b"MATLAB ")


def read(path: pathlib.Path) -> MatlabTensors:
    """Reads the layers and the average image of a MatConvNet file.

    Raises:
      UserError: The file is cut short or damaged, of MATLAB's version 7.3, no SimpleNN net, or a
        net with other layers.
    """
    with path.open("rb") as file:
        require(
            not file.read(16).startswith(b"MATLAB 7.3"),
            f"{path} is a MATLAB file of version 7.3, which can't be read. Save it in MATLAB with "
            "-v7.",
        )
    try:
        variables = mat5.read_variables(path, ("layers", "meta", "normalization"))
    except mat5.MatError as error:
        raise damaged(path, str(error)) from error
    require(
        "layers" in variables,
        f"{path} has no variable `layers`, so it is not a net of MatConvNet's SimpleNN. Give a "
        "file such as imagenet-vgg-verydeep-16.mat.",
    )
    arrays = dict(_layer_arrays(variables["layers"], path))
    for holder in (variables.get("meta"), variables):  # New files, and old ones.
        average = _at(_at(holder, "normalization"), _AVERAGE_IMAGE)
        if isinstance(average, np.ndarray):
            arrays[_AVERAGE_IMAGE] = average
    return MatlabTensors(arrays, _odd_edges(variables["layers"], path))


def _odd_edges(layers: Any, path: pathlib.Path) -> str:
    """Returns the poolings' odd edges, and checks that they are otherwise those of Table 1.

    Padding below and on the right, (0, 1, 0, 1), makes a pooling's windows take an odd last row.
    """
    pools = [
        layer
        for layer in (layers if isinstance(layers, list) else [])
        if _at(layer, "type") == "pool"
    ]
    found = set()
    for layer in pools:
        name, method = _at(layer, "name"), _at(layer, "method")
        sides = [_numbers(layer, field, 2.0, 2) for field in ("pool", "stride")]
        pad = _numbers(layer, "pad", 0.0, 4)
        require(
            method in (None, "max") and sides == [(2, 2), (2, 2)] and pad in _ODD_EDGES,
            f"{path} has a pooling {name} of method {method}, size {sides[0]}, stride {sides[1]} "
            f"and padding {pad}. Those of Table 1 take the maximum of 2x2 cells, with a padding of "
            "(0, 0, 0, 0), or (0, 1, 0, 1) for ceil pooling.",
        )
        found.add(_ODD_EDGES[pad])
    require(
        len(found) < 2,
        f"{path} has poolings with padding and others without. A net has one kind alone.",
    )
    return found.pop() if found else "floor"


def _numbers(layer: Any, field: str, default: float, count: int) -> tuple[float, ...]:
    """Returns the values of a field, of which a single one stands for all."""
    value = _at(layer, field)
    values = np.ravel(value).tolist() if isinstance(value, np.ndarray) else []
    return tuple(values or [default]) * (count if len(values) < 2 else 1)


def _layer_arrays(layers: Any, path: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    for layer in layers if isinstance(layers, list) else [layers]:
        name, kind = _at(layer, "name"), _at(layer, "type")
        if not isinstance(name, str) or not isinstance(kind, str):
            raise _other_form(path, "a layer without a name or a type")
        require(
            kind in _KINDS,
            f"{path} has a layer {name} of type {kind!r}, which no net of Table 1 has. Give a file "
            "such as imagenet-vgg-verydeep-16.mat.",
        )
        if kind != "conv":
            continue
        both = _at(layer, "weights")
        both = [_at(layer, array) for array in _ARRAYS] if both is None else both
        are_arrays = isinstance(both, list) and [isinstance(array, np.ndarray) for array in both]
        if are_arrays != [True, True]:
            raise _other_form(path, f"a layer {name} without filters and biases")
        for array, values in zip(_ARRAYS, both, strict=True):
            yield f"{name}/{array}", values


def _at(structure: Any, field: str) -> Any:
    """Returns a field of a structure, or None if it is none or lacks the field."""
    return structure.get(field) if isinstance(structure, dict) else None


def _other_form(path: pathlib.Path, what: str) -> UserError:
    return UserError(
        f"{path} has {what}, so it is not a net of MatConvNet's SimpleNN. Convert it with "
        "MatConvNet's vl_simplenn_tidy, and save it with -v7."
    )
