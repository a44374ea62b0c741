"""PyTorch's files since 1.6: a zip archive of a pickle and of each storage's bytes."""

import io
import pathlib
import zipfile
import zlib
from typing import BinaryIO

from vgg_jax.errors import UserError
from vgg_jax.foreign import zip_files
from vgg_jax.foreign.file_errors import damaged, naming
from vgg_jax.foreign.pytorch import objects, state
from vgg_jax.foreign.pytorch.state import Place
from vgg_jax.foreign.stored_arrays import StoredArrays
from vgg_jax.foreign.tensors import Tensors

_PICKLE = "/data.pkl"


def recognises(head: bytes) -> bool:
    """Returns whether a file's first bytes are those of this format."""
    return head.startswith(zip_files.SIGNATURE) and _PICKLE.encode() in head


def read(path: pathlib.Path) -> Tensors:
    """Reads what a file holds, without the values of its arrays.

    Raises:
      UserError: The file is damaged or can't be read, holds no state dict, or could run code.
    """
    with naming(path), path.open("rb") as file:
        return _tensors(path, file)


def _tensors(path: pathlib.Path, file: BinaryIO) -> Tensors:
    records = _records(path, file)
    pickled = next((name for name in records if name.endswith(_PICKLE)), "")
    top = pickled.removesuffix(_PICKLE)
    pickle = _bytes(path, file, records, pickled)
    loaded = objects.load(path, io.BytesIO(pickle))
    tensors = state.state_dict(path, loaded.value)
    places = {
        key: _place(path, file, records, f"{top}/data/{key}")
        for key in {tensor.storage.key for tensor in tensors.values()}
    }
    order = f"{top}/byteorder"  # PyTorch before 2.0 doesn't write it.
    big_endian = order in records and _bytes(path, file, records, order) == b"big"
    return StoredArrays(path, state.place(path, tensors, places, big_endian))


def _records(path: pathlib.Path, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Reads the archive's table of contents."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {record.filename: record for record in archive.infolist()}
    except zip_files.ERRORS as error:
        raise damaged(path, "the table of contents at the end of its zip archive is missing or "
                      "garbled") from error  # fmt: skip


def _place(
    path: pathlib.Path, file: BinaryIO, records: dict[str, zipfile.ZipInfo], name: str
) -> Place:
    """Finds where a record's bytes begin, after its header."""
    record = records.get(name)
    if record is None:
        raise damaged(path, f"its zip archive has no {name or 'data.pkl'}")
    if record.compress_type != zipfile.ZIP_STORED:
        raise UserError(
            f"{path} has a compressed record ({name}), which PyTorch doesn't write. Download the "
            "original file."
        )
    try:
        start = zip_files.start_of(file, record)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return Place(start, record.file_size, record.CRC or None)  # 0 if PyTorch is told not to.


def _bytes(
    path: pathlib.Path, file: BinaryIO, records: dict[str, zipfile.ZipInfo], name: str
) -> bytes:
    """Reads a small record."""
    place = _place(path, file, records, name)
    if place.num_bytes > objects.PICKLE_BYTES:
        raise damaged(path, f"{name} has {place.num_bytes:,} bytes")
    file.seek(place.start)
    found = file.read(place.num_bytes)
    if len(found) < place.num_bytes or place.crc32 not in (None, zlib.crc32(found)):
        raise damaged(path, f"the checksum of {name} doesn't match")
    return found
