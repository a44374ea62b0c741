"""MATLAB's MAT-files of version 5 (-v6 and -v7): reads variables, without SciPy.

SciPy's reader ends the process with a bus error for some damaged files. This one reads numbers,
text, cell arrays and structures, and never allocates more than the file has.
"""

import io
import math
import pathlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Numbers are arrays, text is str, a cell array a list of its values in MATLAB's order, a structure
# a dict, an array of structures a list of them, and everything else None.
Value = Any

_HEADER_BYTES = 128
_TAG_BYTES = 8
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 0x800
_DEEPEST = 20
_MOST_DIMS = 32
_CHUNK = 1 << 20


class MatError(ValueError):
    """Raised where bytes can't be a MAT-file. The text says why, as a clause."""


class _Inflated:
    """The contents of a compressed variable."""

    def __init__(self, file: io.BufferedIOBase, size: int) -> None:
        self._file, self._left = file, size
        self._inflate = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Returns up to so many bytes; none at the end."""
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail
            if not data:
                data = self._file.read(min(self._left, _CHUNK))
                self._left -= len(data)
            inflated = self._inflate.decompress(data, size)
            if inflated or not data:
                return inflated
        return b""


class _Reader:
    """Reads the elements of one variable."""

    def __init__(self, read: Callable[[int], bytes], order: str) -> None:
        self._read, self._order, self._at = read, order, 0

    def matrix(self, wanted: Sequence[str] | None = None, depth: int = 0) -> tuple[str, Value]:
        """Reads a variable or a part of one.

        Args:
          wanted: The names of variables whose values are read; None for all.
          depth: How many arrays it lies within.

        Returns:
          Its name, which is "" for parts, and its value.
        """
        kind, size, _ = self._tag()
        if kind != _MATRIX or depth > _DEEPEST:
            raise MatError("there is no array where one should be")
        end = self._at + size
        if not size:
            return "", np.zeros((0, 0))
        flags, _ = self._integers(2, 2)
        if flags & 0xFF == _OPAQUE:  # An object of a newer class, which has no dimensions.
            self._skip(max(0, end - self._at))
            return "", None
        dims = self._integers(1, _MOST_DIMS)
        name = self._text()
        if min(dims) < 0:
            raise MatError(f"{name or 'an array'} has the shape {dims}")
        value = None
        if wanted is None or name in wanted:
            value = self._contents(flags, dims, depth)
        if self._at > end:
            raise MatError("an array is longer than it should be")
        self._skip(end - self._at)
        return name, value

    def finish(self) -> None:
        """Reads to the end, where the checksum of a compressed variable is checked."""
        while self._read(_CHUNK):
            pass

    def _contents(self, flags: int, dims: list[int], depth: int) -> Value:
        kind, count = flags & 0xFF, math.prod(dims)
        if kind in _NUMERIC and not flags & _COMPLEX:
            numbers = self._numbers()
            if len(numbers) != count:
                raise MatError(f"an array has {len(numbers):,} values, not its shape {dims}")
            return numbers.reshape(dims, order="F")
        if kind == _CHAR:
            return self._text()
        if kind == _CELL:
            return [self.matrix(None, depth + 1)[1] for _ in range(count)]
        if kind == _STRUCT:
            (length,) = self._integers(1, 1)
            names = list(self._field_names(length))
            rows = range(count if names else 0)
            structures = [{name: self.matrix(None, depth + 1)[1] for name in names} for _ in rows]
            return structures[0] if len(structures) == 1 else structures
        return None

    def _field_names(self, length: int) -> Iterator[str]:
        _, data = self._element()
        if length < 1:
            raise MatError("names of fields have no length")
        for start in range(0, len(data), length):
            yield bytes(data[start : start + length]).partition(b"\0")[0].decode("latin-1")

    def _integers(self, fewest: int, most: int) -> list[int]:
        numbers = self._numbers()
        if numbers.dtype.kind not in "iu" or not fewest <= len(numbers) <= most:
            raise MatError("the head of an array is not of integers")
        return numbers.tolist()

    def _numbers(self) -> np.ndarray:
        kind, data = self._element()
        if kind not in _NUMBERS:
            raise MatError(f"there are no numbers of type {kind}")
        dtype = np.dtype(self._order + _NUMBERS[kind])
        if len(data) % dtype.itemsize:
            raise MatError("an array ends within a value")
        return np.frombuffer(data, dtype)

    def _text(self) -> str:
        kind, data = self._element()
        if kind not in _TEXT:
            raise MatError(f"there is no text of type {kind}")
        coding = _TEXT[kind]
        if kind not in (1, 2, 16):
            coding += "-le" if self._order == "<" else "-be"
        return bytes(data).decode(coding, "replace")

    def _element(self) -> tuple[int, bytearray]:
        kind, size, small = self._tag()
        if small is not None:
            return kind, small
        data = self._take(size)
        self._skip(-size % 8)
        return kind, data

    def _tag(self) -> tuple[int, int, bytearray | None]:
        """Returns an element's type and size, and its contents if they are in the tag."""
        tag = self._take(_TAG_BYTES)
        kind, size = np.frombuffer(tag, self._order + "u4").tolist()
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise MatError("an element is longer than its place")
            return kind, size, tag[4 : 4 + size]
        return kind, size, None

    def _take(self, size: int) -> bytearray:
        data = bytearray()
        while len(data) < size:
            part = self._read(min(size - len(data), _CHUNK))
            if not part:
                raise MatError("it ends within an array")
            data += part
        self._at += size
        return data

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._take(min(size, _CHUNK)))


def read_variables(path: pathlib.Path, names: Sequence[str]) -> dict[str, Value]:
    """Reads those of the named variables that the file has.

    Raises:
      MatError: The file is cut short or damaged, or of another version.
    """
    size = path.stat().st_size
    variables = {}
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:])
        if order is None:
            raise MatError("it has no header of version 5")
        start = _HEADER_BYTES
        if start == size:
            raise MatError("it has no variables")
        while start < size:
            name, value, start = _variable(file, start, order, names)
            if start > size:
                raise MatError(f"it has {size:,} bytes, where {start:,} are needed")
            if name in names:
                variables[name] = value
    return variables


def _variable(
    file: io.BufferedIOBase, start: int, order: str, names: Sequence[str]
) -> tuple[str, Value, int]:
    """Reads the variable at a place; returns its name, its value and where it ends."""
    file.seek(start)
    tag = file.read(_TAG_BYTES)
    if len(tag) < _TAG_BYTES:
        raise MatError("it ends within a variable")
    kind, size = np.frombuffer(tag, order + "u4").tolist()
    end = start + _TAG_BYTES + size
    if kind == _COMPRESSED:
        reader = _Reader(_Inflated(file, size).read, order)
    else:
        file.seek(start)
        reader = _Reader(file.read, order)
    try:
        name, value = reader.matrix(names)
        if kind == _COMPRESSED and name in names:
            reader.finish()
    except zlib.error as error:
        raise MatError(str(error)) from error
    return name, value, end
