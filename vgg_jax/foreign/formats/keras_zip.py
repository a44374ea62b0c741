"""Keras's `.keras` files: ZIP archives with a model's config and its `model.weights.h5`."""

import contextlib
import io
import pathlib
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vgg_jax.errors import UserError
from vgg_jax.foreign import zip_files
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.formats.hdf5 import Hdf5Tensors
from vgg_jax.foreign.optional_package import require_package

if TYPE_CHECKING:
    import h5py

_WEIGHTS = "model.weights.h5"
_MEMBERS = ("metadata.json", "config.json", _WEIGHTS)
_CHUNK = 1 << 20


class _Part(io.RawIOBase):
    """A part of a file as a file of its own, which is read where it is."""

    def __init__(self, path: pathlib.Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._at = start, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def recognises(head: bytes) -> bool:
    """Returns whether a file is a ZIP archive that begins with a member of a `.keras` file."""
    return zip_files.first_member(head) in _MEMBERS


def read(path: pathlib.Path) -> Hdf5Tensors:
    """Lists the arrays of a `.keras` file. Their values are read later, one array at a time.

    Raises:
      UserError: h5py isn't installed, or the file is cut short, damaged or compressed.
    """
    require_package("h5py", path)
    try:
        start, size = _place(path)
    except UserError:  # It is a ValueError, too.
        raise
    except (KeyError, *zip_files.ERRORS) as error:
        raise damaged(path, str(error).strip("'\"")) from error

    @contextlib.contextmanager
    def open_file() -> "Iterator[h5py.File]":
        import h5py

        with _Part(path, start, size) as part, h5py.File(part, "r") as file:
            yield file

    return Hdf5Tensors(path, open_file)


def _place(path: pathlib.Path) -> tuple[int, int]:
    """Returns where the weights begin in the archive, and how many bytes they have."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(_WEIGHTS)
        if info.compress_type != zipfile.ZIP_STORED:
            raise UserError(
                f"{path} is compressed, which Keras's own files are not. Unzip it and give its "
                f"{_WEIGHTS} instead."
            )
        with archive.open(info) as member:  # The end of the weights checks their CRC.
            while member.read(_CHUNK):
                pass
    with path.open("rb") as file:
        return zip_files.start_of(file, info), info.file_size
