"""NumPy archives that carry a digest of their arrays, and so tell whether they are damaged."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from vgg_jax.storage import files, sealed_json
from vgg_jax.storage.files import Path

_KEY = "sealed"


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, none of which needs a pickle, and their digest."""
    with files.written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **seal(arrays))


def seal(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays with one more, "sealed", that holds the version and their SHA-256."""
    sealed = {"version": sealed_json.VERSION, "sha256": _sha256(arrays)}
    return {**arrays, _KEY: np.array(json.dumps(sealed))}


def read(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads arrays that `save` wrote, in this version or an earlier one.

    Args:
      path: The file.
      names: The arrays to read. The digest is checked if these are all that there are.

    Raises:
      Exception: The file is damaged or of another kind. NumPy raises any of a dozen exceptions:
        see `sealed_json.reason`.
    """
    with files.open_to_read(path) as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in names}
        if _KEY not in archive.files:
            sealed_json.say_once_that_it_has_no_digest(path)
        elif {*archive.files} == {*names, _KEY}:
            sealed_json.refuse_other(json.loads(archive[_KEY].item()), _sha256(arrays))
    return arrays


def is_sealed(path: Path) -> bool:
    """Returns whether an archive that isn't damaged carries a digest."""
    with files.open_to_read(path) as file, np.load(file, allow_pickle=False) as archive:
        return _KEY in archive.files


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()
