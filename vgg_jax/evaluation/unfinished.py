"""The posteriors of a pass that isn't finished, in files, so that a stopped pass can resume."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from vgg_jax.errors import UserError
from vgg_jax.evaluation.posteriors import require_shape
from vgg_jax.storage import files, sealed_json, sealed_npz
from vgg_jax.storage.files import Path

_IDENTITY = "identity.json"


class Unfinished:
    """Posteriors that are being computed, saved in parts so that a stopped pass can resume.

    Attributes:
      done: Whether each image's posteriors are computed.
      values: The posteriors of the images that are done; 0 for the others.
    """

    def __init__(
        self,
        folder: Path | None,
        identity: Mapping[str, Any],
        num_images: int,
        num_classes: int,
        *,
        save_every_s: float,
    ) -> None:
        """Reads the parts of the same pass from the folder, and removes those of another pass.

        Args:
          folder: The folder of the parts; None to save none.
          identity: All that the values depend on.
          num_images, num_classes: The shape of `values`.
          save_every_s: Seconds from one saved part to the next.
        """
        self.done: Bool[np.ndarray, " n"] = np.zeros(num_images, bool)
        self.values: Float32[np.ndarray, "n c"] = np.zeros((num_images, num_classes), np.float32)
        self._folder, self._save_every_s = folder, save_every_s
        self._unsaved: list[Int[np.ndarray, " b"]] = []
        self._saved_at_s = time.monotonic()
        if folder is None:
            return
        if not _is_of(folder, identity):
            files.remove_tree(folder)
            folder.mkdir(parents=True)
            sealed_json.write(folder / _IDENTITY, identity)
        for path in folder.glob("*.npz"):
            try:
                part = sealed_npz.read(path, ("indices", "values"))
                _require_part(part, self.values.shape)
                self._take(part["indices"], part["values"])
            except Exception:  # It is damaged, or cut short by a crash: it is computed again.
                path.unlink()

    def add(self, indices: Int[np.ndarray, " b"], values: Float32[np.ndarray, "b c"]) -> None:
        """Adds a batch; saves a new part if the last is `save_every_s` seconds old.

        Raises:
          UserError: The batch's posteriors are not finite.
        """
        if not np.isfinite(values).all():
            raise UserError(
                f"The posteriors of {(~np.isfinite(values).all(axis=1)).sum():,} images of "
                f"{len(values):,} are not finite. The training of this checkpoint's net has "
                "diverged; choose another checkpoint."
            )
        self._take(indices, values)
        self._unsaved.append(indices)
        if time.monotonic() - self._saved_at_s >= self._save_every_s:
            self.save()

    def save(self) -> None:
        """Saves the posteriors that were added since the last part, as another part."""
        if self._folder is not None and self._unsaved:
            indices = np.concatenate(self._unsaved)
            path = self._folder / f"{uuid.uuid4().hex}.npz"
            sealed_npz.save(path, {"indices": indices, "values": self.values[indices]})
        self._unsaved, self._saved_at_s = [], time.monotonic()

    def remove(self) -> None:
        """Removes the parts, for when all posteriors are saved in one file."""
        if self._folder is not None:
            files.remove_tree(self._folder)

    def _take(self, indices: Int[np.ndarray, " b"], values: Float32[np.ndarray, "b c"]) -> None:
        self.done[indices], self.values[indices] = True, values


def _is_of(folder: Path, identity: Mapping[str, Any]) -> bool:
    try:
        saved = sealed_json.read(folder / _IDENTITY, dict, "")
    except UserError:  # It is missing or damaged.
        return False
    return saved == json.loads(json.dumps(identity))


def _require_part(part: Mapping[str, np.ndarray], shape: tuple[int, int]) -> None:
    indices = part["indices"]
    if indices.dtype.kind != "i" or indices.ndim != 1:
        raise ValueError(f"its indices are {indices.dtype} of shape {indices.shape}")
    if indices.size and not 0 <= indices.min() <= indices.max() < shape[0]:
        raise ValueError("an index is not of its images")
    require_shape(part["values"], (len(indices), shape[1]))
    if not np.isfinite(part["values"]).all():
        raise ValueError("its values are not finite")
