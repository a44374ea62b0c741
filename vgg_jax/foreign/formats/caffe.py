"""Caffe's `.caffemodel` files: the Protocol Buffers message NetParameter.

Arrays are named LAYER/INDEX: conv1_1/0 is conv1_1's kernel and conv1_1/1 its bias. The metadata
have "lrn" if the net has local response normalisation.
"""

import dataclasses
import io
import math
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from vgg_jax.errors import UserError, require
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.protobuf import BYTES, FIXED32, VARINT, Field, WireError, fields, varints
from vgg_jax.foreign.tensors import Tensors

# The numbers and wire types of NetParameter's fields.
_NET = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES,
        100: BYTES}  # fmt: skip
_NET_NAME = 1
# The numbers of a layer's name and blobs, in V1LayerParameter and in LayerParameter.
_LAYERS = {2: (4, 6), 100: (1, 7)}
# The numbers of a layer's type, PoolingParameter and LRNParameter in both, and the types of LRN.
_TYPES = {2: (5, 19, 18), 100: (2, 121, 118)}
_LRN = (15, b"LRN")
# PoolingParameter's numbers: the size and the stride for both sides, for the height and the width;
# and the method, paddings, global_pooling and round_mode, whose 0 is Table 1's.
_SIZES, _STRIDES, _ZEROS = (2, 5, 6), (3, 7, 8), (1, 4, 9, 10, 12, 13)
# LRNParameter's numbers, with Caffe's defaults and with the values of A-LRN's form: Caffe divides
# alpha by the size.
_LRN_DEFAULTS = {"local_size": (1, 5), "alpha": (2, 1), "beta": (3, 0.75), "norm_region": (4, 0),
                 "k": (5, 1)}  # fmt: skip
_OF_A_LRN = {"local_size": 5, "alpha": 5e-4, "beta": 0.75, "norm_region": 0, "k": 2}
# BlobProto's numbers. Before 2014's BlobShape, a blob's shape was num, channels, height, width.
_NUM_TO_WIDTH = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_SHAPE_DIM = 1
_NAME_BYTES = 1000  # Longer names are not names.


@dataclasses.dataclass(frozen=True)
class _Values:
    """Consecutive values of a blob: packed, or each after the one-byte tag of its field."""

    start: int
    count: int
    dtype: np.dtype
    packed: bool


@dataclasses.dataclass(frozen=True)
class _Blob:
    shape: tuple[int, ...]
    values: tuple[_Values, ...]


class CaffeTensors(Tensors):
    """The blobs of a `.caffemodel`, which are read from their places in the file."""

    def __init__(self, path: pathlib.Path, blobs: Mapping[str, _Blob], has_lrn: bool) -> None:
        self._path = path
        self.metadata = {"lrn": "true"} if has_lrn else {}
        self._blobs = blobs
        self.shapes = {name: blob.shape for name, blob in blobs.items()}

    def read(self, name: str) -> np.ndarray:
        """Reads a blob as float32, in the shape that the file gives it.

        Raises:
          UserError: The file has become shorter since its layers were listed.
        """
        blob = self._blobs[name]
        parts = []
        with self._path.open("rb") as file:
            for values in blob.values:
                part = _read(file, values)
                if len(part) != values.count:
                    raise damaged(self._path, f"{name} ends early")
                parts.append(part)
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, "f4"), *parts])
        return whole.reshape(blob.shape)


def recognises(head: bytes) -> bool:
    """Returns whether a file begins with the fields of a NetParameter, up to its first layer."""
    file = io.BytesIO(head)
    names = 0
    try:
        for field in fields(file, 0, 1 << 62):
            names += field.number == _NET_NAME
            if _NET.get(field.number) != field.wire_type or names > 1:
                return False
            if field.number in _LAYERS:
                first = next(fields(file, field.start, field.end))
                return first.wire_type == BYTES and first.number <= 4
    except (WireError, StopIteration):
        pass
    return False


def read(path: pathlib.Path) -> CaffeTensors:
    """Lists the blobs of a `.caffemodel`. Their values are read later, one blob at a time.

    Raises:
      UserError: The file is cut short or damaged, has no weights, or pools or normalises in another
        way than the nets of Table 1.
    """
    blobs: dict[str, _Blob] = {}
    has_lrn = False
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            for field in fields(file, 0, size):
                if field.number in _LAYERS and field.wire_type == BYTES:
                    has_lrn |= _is_lrn(file, field, path)
                    for name, blob in _layer(file, field, *_LAYERS[field.number]):
                        if name in blobs:
                            raise WireError(f"it has {name} twice")
                        blobs[name] = blob
    except WireError as error:
        raise damaged(path, str(error)) from error
    if not blobs:
        raise UserError(
            f"{path} has no weights that can be read. If it is a .caffemodel of before 2014, "
            "convert it with Caffe's upgrade_net_proto_binary; otherwise give the .caffemodel with "
            "the trained weights."
        )
    return CaffeTensors(path, blobs, has_lrn)


def _is_lrn(file: io.BufferedIOBase, layer: Field, path: pathlib.Path) -> bool:
    """Returns whether a layer is of LRN.

    Raises:
      UserError: It pools or normalises in another way than the nets of Table 1.
    """
    type_number, pooling_number, lrn_number = _TYPES[layer.number]
    kind: int | bytes = b""
    normalises: dict[int, int | float] = {}
    for field in fields(file, layer.start, layer.end):
        if field.number == type_number:
            kind = _bytes(file, field) if field.wire_type == BYTES else field.value
        elif field.number == pooling_number and field.wire_type == BYTES:
            _refuse_other_pooling(_numbers(file, field), path)
        elif field.number == lrn_number and field.wire_type == BYTES:
            normalises = _numbers(file, field)
    if kind not in _LRN:
        return False
    found = {name: normalises.get(*default) for name, default in _LRN_DEFAULTS.items()}
    require(
        all(math.isclose(found[name], value, rel_tol=1e-6) for name, value in _OF_A_LRN.items()),
        f"{path} has a local response normalisation with {_listed(found)}. That of A-LRN has "
        f"{_listed(_OF_A_LRN)}. Give the weights of such a net.",
    )
    return True


def _listed(values: Mapping[str, int | float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def _refuse_other_pooling(values: Mapping[int, int | float], path: pathlib.Path) -> None:
    sides = [
        values.get(side, values.get(both, 1))
        for both, *of_sides in (_SIZES, _STRIDES)
        for side in of_sides
    ]
    require(
        sides == [2, 2, 2, 2] and not any(values.get(number) for number in _ZEROS),
        f"{path} has a pooling of another kind than those of Table 1, which take the maximum of "
        "2x2 cells, without padding, and keep an odd last row. Give the weights of such a net.",
    )


def _numbers(file: io.BufferedIOBase, message: Field) -> dict[int, int | float]:
    """Returns the numbers in a message by their fields' numbers."""
    values: dict[int, int | float] = {}
    for field in fields(file, message.start, message.end):
        if field.wire_type == VARINT:
            values[field.number] = field.value
        elif field.wire_type == FIXED32:
            values[field.number] = float(np.frombuffer(_bytes(file, field), "<f4")[0])
    return values


def _layer(
    file: io.BufferedIOBase, layer: Field, name_number: int, blob_number: int
) -> Iterator[tuple[str, _Blob]]:
    name, blobs = "", []
    for field in fields(file, layer.start, layer.end):
        if field.wire_type == BYTES and field.number == name_number:
            name = _bytes(file, field).decode("utf-8", "replace")
        elif field.wire_type == BYTES and field.number == blob_number:
            blobs.append(field)
    for index, field in enumerate(blobs):
        yield f"{name}/{index}", _blob(file, field, f"{name}/{index}")


def _blob(file: io.BufferedIOBase, message: Field, name: str) -> _Blob:
    shape, old_shape, values = None, {}, []
    for field in fields(file, message.start, message.end):
        if field.number in _NUM_TO_WIDTH and field.wire_type == VARINT:
            old_shape[field.number] = field.value
        elif field.number == _SHAPE and field.wire_type == BYTES:
            shape = _dims(file, field)
        elif field.number in (_DATA, _DOUBLE_DATA) and field.wire_type != VARINT:
            values.append(_values(field, name))
    if shape is None:
        shape = tuple(old_shape.get(number, 0) for number in _NUM_TO_WIDTH) if old_shape else ()
    found = sum(part.count for part in values)
    if found != math.prod(shape):
        raise WireError(f"{name} has {found:,} values, which is not its shape {shape}")
    return _Blob(shape, tuple(values))


def _values(field: Field, name: str) -> _Values:
    dtype = np.dtype("<f4" if field.number == _DATA else "<f8")
    if field.wire_type == BYTES:
        count, rest = divmod(field.end - field.start, dtype.itemsize)
        if rest:
            raise WireError(f"{name} ends within a value")
        return _Values(field.start, count, dtype, packed=True)
    if (field.wire_type == FIXED32) != (dtype.itemsize == 4):
        raise WireError(f"{name} has values of another size")
    count = (field.end - field.start + 1) // (1 + dtype.itemsize)
    return _Values(field.start, count, dtype, packed=False)


def _dims(file: io.BufferedIOBase, message: Field) -> tuple[int, ...]:
    dims = []
    for field in fields(file, message.start, message.end):
        if field.number == _SHAPE_DIM:
            packed = field.wire_type == BYTES
            dims += varints(_bytes(file, field)) if packed else [field.value]
    return tuple(dims)


def _bytes(file: io.BufferedIOBase, field: Field) -> bytes:
    if field.end - field.start > _NAME_BYTES:
        raise WireError(f"a name or a shape has {field.end - field.start:,} bytes")
    file.seek(field.start)
    return file.read(field.end - field.start)


def _read(file: io.BufferedIOBase, values: _Values) -> np.ndarray:
    if values.packed:
        file.seek(values.start)
        part = np.fromfile(file, values.dtype, values.count)
    else:
        file.seek(values.start - 1)
        record = np.dtype([("tag", np.uint8), ("value", values.dtype)])
        part = np.fromfile(file, record, values.count)["value"]
    return part.astype(np.float32, copy=not part.flags.c_contiguous)
