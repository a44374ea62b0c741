"""Finds the state dict in what a file of PyTorch holds, and its arrays in the file."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from vgg_jax.errors import UserError
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.pytorch.objects import StoredTensor
from vgg_jax.foreign.stored_arrays import StoredArray, item_bytes

_STATE_DICTS = ("state_dict", "model_state_dict", "model")  # Where checkpoints keep it.
_MAX_LEVELS = 4


class Place(NamedTuple):
    """Where a whole storage lies in a file, in bytes, and its CRC-32 or None."""

    start: int
    num_bytes: int
    crc32: int | None = None


def state_dict(path: pathlib.Path, loaded: Any) -> dict[str, StoredTensor]:
    """Finds the state dict in what a file holds.

    It may lie under "state_dict", "model_state_dict" or "model", also in several levels. Values
    that aren't tensors are left out.

    Raises:
      UserError: The file holds no state dict.
    """
    found: dict[str, StoredTensor] = {}
    value = loaded
    for _ in range(_MAX_LEVELS):
        if not isinstance(value, dict):
            break
        found = _tensors(value) or found
        value = next((value[key] for key in _STATE_DICTS if key in value), None)
    if not found:
        raise UserError(
            f"{path} holds no state dict (a dict of named tensors). Save the model's state_dict() "
            "with torch.save."
        )
    return found


def _tensors(entries: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    return {
        name: tensor
        for name, tensor in entries.items()
        if isinstance(name, str) and isinstance(tensor, StoredTensor)
    }


def place(
    path: pathlib.Path,
    tensors: Mapping[str, StoredTensor],
    places: Mapping[str, Place],
    big_endian: bool = False,
) -> dict[str, StoredArray]:
    """Finds where each tensor lies in the file.

    Args:
      path: The file.
      tensors: The tensors by their names.
      places: Where the storages lie, by their keys.
      big_endian: Whether the most significant byte of each value is the first.

    Raises:
      UserError: A storage is missing or has another size than the pickle says.
    """
    arrays = {}
    for name, tensor in tensors.items():
        storage, found = tensor.storage, places.get(tensor.storage.key)
        if found is None:
            raise damaged(path, f"the values of {name} are missing")
        if found.num_bytes != storage.whole_bytes:
            raise damaged(
                path, f"the values of {name} have {found.num_bytes:,} bytes instead of the "
                f"{storage.whole_bytes:,} that its pickle says",
            )  # fmt: skip
        start = found.start + storage.start + tensor.offset * item_bytes(tensor.dtype)
        arrays[name] = StoredArray(
            start=start,
            end=found.start + storage.start + storage.num_bytes,
            dtype=tensor.dtype,
            shape=tensor.shape,
            strides=tensor.strides,
            big_endian=big_endian,
            crc32=found.crc32 if start == found.start else None,
        )
    return arrays
