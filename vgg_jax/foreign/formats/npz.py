"""NumPy's `.npz` files: ZIP archives of `.npy` files, whose names are the arrays' names."""

import math
import pathlib
import tokenize
import zipfile
from collections.abc import Mapping

import numpy as np

from vgg_jax.foreign import zip_files
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.tensors import Tensors

_SUFFIX = ".npy"
# Deflate makes data at most 1,032 times smaller.
_MOST_DEFLATED = 1032
# NumPy reads the shape as Python's text.
_ERRORS = (*zip_files.ERRORS, tokenize.TokenError, SyntaxError)


class NpzTensors(Tensors):
    """The arrays of a `.npz`."""

    def __init__(self, path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._path = path
        self.shapes = shapes

    def read(self, name: str) -> np.ndarray:
        """Reads an array as float32.

        Raises:
          UserError: The array is damaged.
        """
        try:
            with (
                zipfile.ZipFile(self._path) as archive,
                archive.open(name + _SUFFIX) as member,
            ):
                array = np.lib.format.read_array(member, allow_pickle=False)
        except _ERRORS as error:
            raise damaged(self._path, f"{name} can't be read ({error})") from error
        return array.astype(np.float32, copy=False)


def recognises(head: bytes) -> bool:
    """Returns whether a file is a ZIP archive whose first member is a `.npy` file."""
    return zip_files.first_member(head).endswith(_SUFFIX)


def read(path: pathlib.Path) -> NpzTensors:
    """Lists the arrays of a `.npz`. Their values are read later, one array at a time.

    Raises:
      UserError: The file is cut short or damaged, or an array is not of numbers.
    """
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(_SUFFIX):
                    name = info.filename.removesuffix(_SUFFIX)
                    shapes[name] = _shape(archive, info)
    except _ERRORS as error:
        raise damaged(path, str(error)) from error
    return NpzTensors(path, shapes)


def _shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(member)
        start = member.tell()
    if dtype.kind not in "fiu":
        raise ValueError(f"{info.filename} is not an array of numbers")
    size = start + math.prod(shape) * dtype.itemsize
    if size != info.file_size or size > _MOST_DEFLATED * (info.compress_size + 1):
        raise ValueError(f"{info.filename} has other values than its shape {shape}")
    return shape
