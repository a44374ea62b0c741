"""Files of posteriors, which are averaged over scales, methods and nets (§3.2).

One file holds the posteriors of all images of a split for one run, method and Q. Everything else is
arithmetic on these files, in NumPy alone.
"""

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from vgg_jax.errors import UserError
from vgg_jax.evaluation import same_images
from vgg_jax.storage import files, sealed_json, sealed_npz
from vgg_jax.storage.files import Path

_IDENTITY = "identity.json"


@dataclasses.dataclass(frozen=True)
class Posteriors:
    """The posteriors of the images of a split.

    Attributes:
      names: The images' names, which don't depend on where the data set lies.
      labels: Class indices; -1 for unlabelled images.
      class_names: The name of each class, by label.
      values: Probabilities, which sum to 1 for each image.
      made_by: Plain values that say how the posteriors were made. Its "identity" is all that they
        depend on.
    """

    names: tuple[str, ...]
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]
    values: Float[np.ndarray, "n c"]
    made_by: Mapping[str, Any]

    @property
    def is_labelled(self) -> bool:
        """Whether every image has a label, so that errors can be computed."""
        return bool((self.labels >= 0).all())

    def save(self, path: Path) -> None:
        """Writes the posteriors as a NumPy archive, which needs no pickle."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "names": np.array(self.names),
            "labels": self.labels,
            "class_names": np.array(self.class_names),
            "values": self.values.astype(np.float32),
            "made_by": np.array(json.dumps(self.made_by)),
        }
        sealed_npz.save(path, arrays)


def read(path: Path) -> Posteriors:
    """Reads a file that `Posteriors.save` wrote.

    Raises:
      UserError: The file is damaged, or of another kind.
    """
    with _damage_named(path):
        arrays = sealed_npz.read(path, ("names", "labels", "class_names", "values", "made_by"))
        _require_posteriors(arrays)
        return Posteriors(
            tuple(arrays["names"].tolist()),
            arrays["labels"].astype(np.int32, copy=False),
            tuple(arrays["class_names"].tolist()),
            arrays["values"],
            _made_by(arrays),
        )


def read_made_by(path: Path) -> dict[str, Any]:
    """Reads how a file was made, without its values, which take 200 MB for ImageNet.

    Raises:
      UserError: The file is damaged, or of another kind.
    """
    with _damage_named(path):
        return _made_by(sealed_npz.read(path, ("made_by",)))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # For damaged archives, NumPy raises any of a dozen exceptions.
        raise UserError(
            f"{path} is not a complete file of posteriors ({sealed_json.reason(error)}). Remove "
            "it; the evaluation then makes it again."
        ) from error


def _made_by(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    values = json.loads(arrays["made_by"].item())
    sealed_json.require_types(values, {"identity": dict})
    return values


def _require_posteriors(arrays: Mapping[str, np.ndarray]) -> None:
    (num_images,), (num_classes,) = arrays["names"].shape, arrays["class_names"].shape
    labels = arrays["labels"]
    if arrays["names"].dtype.kind != "U" or arrays["class_names"].dtype.kind != "U":
        raise ValueError("its names are not texts")
    if labels.dtype.kind != "i" or labels.shape != (num_images,):
        raise ValueError(f"its labels are {labels.dtype} of shape {labels.shape}")
    if labels.size and not -1 <= labels.min() <= labels.max() < num_classes:
        raise ValueError("a label is not of its classes")
    _require_shape(arrays["values"], (num_images, num_classes))
    _require_probabilities(arrays["values"])


def _require_shape(values: np.ndarray, shape: tuple[int, int]) -> None:
    if values.dtype.kind != "f" or values.shape != shape:
        raise ValueError(f"its values are {values.dtype} of shape {values.shape}, not {shape}")


def _require_probabilities(values: np.ndarray) -> None:
    # Sums of NaN or infinity are not close to 1 either.
    sums = values.sum(axis=1, dtype=np.float64)
    if values.size and not (values.min() >= 0 and np.allclose(sums, 1, atol=0.01)):
        raise ValueError("its values are not probabilities that sum to 1 for each image")


def average(parts: Mapping[str, Posteriors]) -> Posteriors:
    """Averages posteriors of the same images, each part with the same weight (§3.2).

    Args:
      parts: The posteriors, by their names in error messages. If no name of an image occurs twice,
        the images of each part may have an order of their own. The average has the first's.

    Raises:
      UserError: Their images, labels or classes differ.
    """
    (first_name, first), *others = parts.items()
    parts = {first_name: first, **{name: _in_order(part, first.names) for name, part in others}}
    check_alike(parts, "averaged")
    total = np.zeros(first.values.shape)
    for part in parts.values():
        total += part.values
    made_by = {"average_of": {name: dict(part.made_by) for name, part in parts.items()}}
    return Posteriors(first.names, first.labels, first.class_names, total / len(parts), made_by)


def _in_order(part: Posteriors, names: tuple[str, ...]) -> Posteriors:
    """Returns posteriors in the order of the names; as they are if their names are others."""
    if part.names == names or (order := same_images.order_of(part.names, names)) is None:
        return part
    return dataclasses.replace(
        part, names=names, labels=part.labels[order], values=part.values[order]
    )


def check_alike(parts: Mapping[str, Posteriors], purpose: str) -> None:
    """Checks that posteriors are of the same images in the same order.

    Args:
      parts: The posteriors, by their names in the error message.
      purpose: The end of "A and B can't be ..." in the message, for example "averaged".

    Raises:
      UserError: Their images, labels or classes differ.
    """
    (first_name, first), *others = parts.items()
    for name, other in others:
        for what, ours, theirs in (
            ("classes", first.class_names, other.class_names),
            ("images", first.names, other.names),
            ("labels", first.labels.tolist(), other.labels.tolist()),
        ):
            if ours != theirs:
                raise UserError(
                    f"{first_name} and {name} can't be {purpose}: their {what} differ"
                    f"{_difference(ours, theirs)}. Evaluate both on the same images."
                )


def combine(parts: Mapping[str, Mapping[int, Posteriors]]) -> Posteriors:
    """Averages one run's posteriors over its scales, then over methods (§3.2).

    Args:
      parts: The posteriors, by method, then by Q.

    Returns:
      The average, whose identity is what the parts share. A single part is returned as it is.

    Raises:
      UserError: The parts are of different checkpoints, settings or images.
    """
    named = {
        f"{method} at Q = {scale}": part
        for method, of_method in parts.items()
        for scale, part in of_method.items()
    }
    (first_name, first), *others = named.items()
    if not others:
        return first
    for name, other in others:
        ours, theirs = (dict(part.made_by["identity"]) for part in (first, other))
        differing = [
            key
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key) and key not in ("method", "scale")
        ]
        if differing:
            raise UserError(
                f"{first_name} and {name} can't be averaged: they were made with different "
                f"{', '.join(differing)}. Evaluate again with one checkpoint and one setting."
            )
    mean = average(
        {
            method: average({f"{method} at Q = {q}": part for q, part in of_method.items()})
            for method, of_method in parts.items()
        }
    )
    shared = {k: v for k, v in first.made_by["identity"].items() if k not in ("method", "scale")}
    made_by = {"identity": shared, "average_of": {n: dict(p.made_by) for n, p in named.items()}}
    return dataclasses.replace(mean, made_by=made_by)


def _difference(ours: Sequence[object], theirs: Sequence[object]) -> str:
    if len(ours) != len(theirs):
        return f" ({len(ours):,} and {len(theirs):,})"
    index = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f" (the first at {index:,}: {ours[index]} and {theirs[index]})"


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
    _require_shape(part["values"], (len(indices), shape[1]))
    if not np.isfinite(part["values"]).all():
        raise ValueError("its values are not finite")
