"""Arrays that lie uncompressed in a file and are read one by one."""

import dataclasses
import math
import pathlib
import zlib
from collections.abc import Mapping

import numpy as np

from vgg_jax.foreign.file_errors import damaged, naming
from vgg_jax.foreign.tensors import Tensors

# The name of each dtype that can be read, and NumPy's code for its bits. NumPy lacks bfloat16.
DTYPES: Mapping[str, str] = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}
_FLOATS = ("float64", "float32", "float16")
MAX_AXES = 8


def item_bytes(dtype: str) -> int:
    """Returns the bytes of a value of a dtype, one of `DTYPES`."""
    return np.dtype(DTYPES[dtype]).itemsize


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """The place of an array in a file.

    Attributes:
      start: The byte at which its first value begins.
      end: The byte after the last one that belongs to it or to its storage.
      dtype: One of `DTYPES`.
      shape: Its shape.
      strides: The distance between neighbours along each axis, in values; None for C order.
      big_endian: Whether its values' first byte is the most significant.
      crc32: The CRC-32 of the bytes from `start` to `end`; None if it isn't known. It is compared
        if the array has all of these bytes.
    """

    start: int
    end: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    big_endian: bool = False
    crc32: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """The distance between neighbours along each axis, in values."""
        if self.strides is not None:
            return self.strides
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @property
    def num_spanned(self) -> int:
        """The number of values from the array's first to its last in the file."""
        if 0 in self.shape:
            return 0
        pairs = zip(self.shape, self.steps, strict=True)
        return 1 + sum((length - 1) * step for length, step in pairs)


class StoredArrays(Tensors):
    """The arrays of a file, each at a known place.

    The places are checked before anything is allocated, so that a damaged file can't ask for more
    memory than its own size needs.
    """

    def __init__(self, path: pathlib.Path, arrays: Mapping[str, StoredArray]) -> None:
        """Checks where the arrays lie.

        Raises:
          UserError: An array lies outside the file or its storage, or is larger than its storage.
        """
        size = path.stat().st_size
        for name, array in arrays.items():
            _check(path, name, array, size)
        self.shapes = {name: array.shape for name, array in arrays.items()}
        self._path, self._arrays = path, dict(arrays)

    def read(self, name: str) -> np.ndarray:
        """Reads an array; float16, bfloat16 and float64 become float32.

        Raises:
          UserError: The file can't be read, is shorter than it was, or is damaged there.
        """
        array = self._arrays[name]
        bits = np.dtype(DTYPES[array.dtype]).newbyteorder(">" if array.big_endian else "<")
        with naming(self._path):
            values = np.fromfile(self._path, bits, array.num_spanned, offset=array.start)
        if values.size != array.num_spanned:
            raise damaged(self._path, f"it ends within {name}")
        whole = array.start + values.nbytes == array.end
        if whole and array.crc32 is not None and zlib.crc32(values.data) != array.crc32:
            raise damaged(self._path, f"the checksum of {name} doesn't match")
        strides = tuple(step * bits.itemsize for step in array.steps)
        values = np.lib.stride_tricks.as_strided(values, array.shape, strides)
        return _as_float32(values, array.dtype)


def _check(path: pathlib.Path, name: str, array: StoredArray, file_bytes: int) -> None:
    if len(array.shape) > MAX_AXES:
        raise damaged(path, f"{name} has {len(array.shape)} axes")
    if len(array.shape) != len(array.steps):
        raise damaged(path, f"{name} has {len(array.shape)} axes and {len(array.steps)} strides")
    if not all(0 <= number < 2**63 for number in (array.start, *array.shape, *array.steps)):
        raise damaged(path, f"{name} has an impossible size")
    spanned = array.num_spanned
    if math.prod(array.shape) > spanned:
        raise damaged(path, f"{name} has more values than are stored for it")
    if array.start + spanned * item_bytes(array.dtype) > array.end:
        raise damaged(path, f"{name} goes beyond the bytes that are stored for it")
    if array.end > file_bytes:
        raise damaged(path, f"{name} ends at byte {array.end:,} of a file of {file_bytes:,} bytes")


def _as_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns floats as float32 and others as they are, in C order and this machine's bytes."""
    if dtype == "bfloat16":  # It is the upper half of a float32.
        upper = values.astype(np.uint32, order="C")
        upper <<= 16
        return upper.view(np.float32)
    if dtype in _FLOATS:
        with np.errstate(over="ignore"):  # A float64 beyond float32 becomes infinite.
            return values.astype(np.float32, order="C", copy=False)
    return values.astype(values.dtype.newbyteorder("="), order="C", copy=False)
