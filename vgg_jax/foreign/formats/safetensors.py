"""The safetensors format: a length, a JSON header of that length, and the arrays' bytes.

The header has each array's dtype, shape and first and last byte. All numbers are little-endian.
"""

import json
import math
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from vgg_jax.errors import UserError
from vgg_jax.foreign.file_errors import damaged, naming
from vgg_jax.foreign.stored_arrays import MAX_AXES, StoredArray, StoredArrays, item_bytes
from vgg_jax.foreign.tensors import Tensors

_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = 2**24  # No longer header is read; that of a VGG has about 4 kB.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def recognises(head: bytes) -> bool:
    """Returns whether a file's first bytes are those of this format."""
    return head[_LENGTH.size : _LENGTH.size + 1] == b"{"


def read(path: pathlib.Path) -> Tensors:
    """Reads what a file holds, without the values of its arrays.

    Raises:
      UserError: The file is damaged or can't be read, or has a dtype that can't be read.
    """
    with naming(path), path.open("rb") as file:
        return _tensors(path, file)


def _tensors(path: pathlib.Path, file: BinaryIO) -> Tensors:
    header, start = _header(path, file)
    metadata = _metadata(path, header)
    arrays = {
        name: _array(path, name, entry, start)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    _check_complete(path, arrays, start, os.fstat(file.fileno()).st_size)
    tensors = StoredArrays(path, arrays)
    tensors.metadata = metadata
    return tensors


def _header(path: pathlib.Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Reads the header, and says at which byte the arrays begin."""
    first = file.read(_LENGTH.size)
    length = _LENGTH.unpack(first)[0] if len(first) == _LENGTH.size else 0
    if not 2 <= length <= _HEADER_BYTES:
        raise damaged(path, f"it claims a header of {length:,} bytes")
    text = file.read(length)
    if len(text) < length:
        raise damaged(path, f"it ends within its header of {length:,} bytes")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    return header, _LENGTH.size + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name appears twice")
    return result


def _metadata(path: pathlib.Path, header: Mapping[str, Any]) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(type(text) is str for text in metadata.values()):
        raise damaged(path, "its metadata is not text")
    return metadata


def _array(path: pathlib.Path, name: str, entry: Any, start: int) -> StoredArray:
    """Returns an array's place.

    Raises:
      UserError: Its entry is incomplete, or it has another number of bytes than its shape needs.
    """
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]}:
            numbers = (*shape, first, last)
        case _:
            raise damaged(path, f"its header doesn't say where {name} is")
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise damaged(path, f"its header gives {name} an impossible size")
    if dtype not in _DTYPES:
        raise UserError(
            f"{path} has {name} as {dtype}, which can't be read. Use a file with one of "
            f"{', '.join(_DTYPES)}."
        )
    dtype = _DTYPES[dtype]
    if len(shape) <= MAX_AXES and last - first != math.prod(shape) * item_bytes(dtype):
        raise damaged(path, f"its header gives {name} bytes {first:,} to {last:,}, which don't "
                      f"fit its shape {tuple(shape)}")  # fmt: skip
    return StoredArray(start + first, start + last, dtype, tuple(shape))


def _check_complete(
    path: pathlib.Path, arrays: Mapping[str, StoredArray], start: int, file_bytes: int
) -> None:
    """Checks that the arrays fill the file, without overlaps and gaps, as the format demands."""
    end = start
    for name, array in sorted(arrays.items(), key=lambda item: (item[1].start, item[1].end)):
        if array.start != end:
            kind = "overlaps with another array" if array.start < end else "follows a gap"
            raise damaged(path, f"{name} {kind}")
        end = array.end
    if end != file_bytes:
        raise damaged(path, f"it has {file_bytes:,} bytes instead of {end:,}")
