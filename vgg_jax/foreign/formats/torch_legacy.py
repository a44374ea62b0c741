"""PyTorch's files before 1.6, such as torchvision's own of VGG: pickles, then the storages' bytes.

The pickles are a magic number, the version of the format, facts about the system, the state dict,
and the storages' keys in the order in which the storages follow. Each storage is the number of its
values, an int64, and then its values. All numbers are little-endian.
"""

import io
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from vgg_jax.foreign.file_errors import damaged, naming
from vgg_jax.foreign.pytorch import objects, state
from vgg_jax.foreign.pytorch.objects import Storage
from vgg_jax.foreign.pytorch.state import Place
from vgg_jax.foreign.stored_arrays import StoredArrays, item_bytes
from vgg_jax.foreign.tensors import Tensors

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = struct.Struct("<q")


def recognises(head: bytes) -> bool:
    """Returns whether a file's first bytes are those of this format."""
    return _MAGIC.to_bytes(10, "little") in head[:32]


def read(path: pathlib.Path) -> Tensors:
    """Reads what a file holds, without the values of its arrays.

    Raises:
      UserError: The file is damaged or can't be read, holds no state dict, or could run code.
    """
    with naming(path), path.open("rb") as file:
        return _tensors(path, file)


def _tensors(path: pathlib.Path, file: BinaryIO) -> Tensors:
    pickles = io.BytesIO(file.read(objects.PICKLE_BYTES))
    magic, version, _system, loaded, keys = (objects.load(path, pickles) for _ in range(5))
    if (magic.value, version.value) != (_MAGIC, _VERSION):
        raise damaged(path, f"it begins with {magic.value} and {version.value} instead of "
                      f"PyTorch's magic number and {_VERSION}")  # fmt: skip
    tensors = state.state_dict(path, loaded.value)
    places = _places(path, file, pickles.tell(), keys.value, loaded.storages)
    return StoredArrays(path, state.place(path, tensors, places))


def _places(
    path: pathlib.Path,
    file: BinaryIO,
    first: int,
    keys: Any,
    storages: Mapping[str, Storage],
) -> dict[str, Place]:
    """Finds the storages by going from one to the next.

    Args:
      path: The file's name, for messages.
      file: The file.
      first: The byte at which the first storage begins.
      keys: The storages' keys in their order in the file.
      storages: The storages by their keys.

    Raises:
      UserError: The file ends too early, or the keys aren't those of the storages.
    """
    if not isinstance(keys, list) or not all(isinstance(k, str) and k in storages for k in keys):
        raise damaged(path, "its list of storages doesn't belong to its tensors")
    file_bytes = os.fstat(file.fileno()).st_size
    places = {}
    start = first
    for key in keys:
        file.seek(start)
        header = file.read(_COUNT.size)
        count = _COUNT.unpack(header)[0] if len(header) == _COUNT.size else 0
        num_bytes = count * item_bytes(storages[key].dtype)
        start += _COUNT.size
        if count < 0 or start + num_bytes > file_bytes:
            raise damaged(path, f"storage {len(places) + 1} of {len(keys)} goes beyond its "
                          f"{file_bytes:,} bytes")  # fmt: skip
        places[key] = Place(start, num_bytes)
        start += num_bytes
    return places
