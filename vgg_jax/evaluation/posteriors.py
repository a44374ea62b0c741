"""Files of posteriors, which are averaged over scales, methods and nets (§3.2).

One file holds the posteriors of all images of a split for one run, method and Q. Everything else is
arithmetic on these files, in NumPy alone.
"""

import contextlib
import dataclasses
import json
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

# The errors that NumPy and zipfile raise for a damaged archive or another kind of file.
_UNREADABLE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile)


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
        with files.written_aside(path) as aside, aside.open("wb") as file:
            np.savez(
                file,
                names=np.array(self.names),
                labels=self.labels,
                class_names=np.array(self.class_names),
                values=self.values.astype(np.float32),
                made_by=np.array(json.dumps(self.made_by)),
            )


def read(path: Path) -> Posteriors:
    """Reads a file that `Posteriors.save` wrote.

    Raises:
      UserError: The file is damaged, or of another kind.
    """
    with _archive(path) as archive:
        return Posteriors(
            tuple(archive["names"].tolist()),
            archive["labels"],
            tuple(archive["class_names"].tolist()),
            archive["values"],
            json.loads(archive["made_by"].item()),
        )


def read_made_by(path: Path) -> dict[str, Any]:
    """Reads how a file was made, without its values, which take 200 MB for ImageNet.

    Raises:
      UserError: The file is damaged, or of another kind.
    """
    with _archive(path) as archive:
        return json.loads(archive["made_by"].item())


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        with files.open_to_read(path) as file, np.load(file, allow_pickle=False) as archive:
            yield archive
    except _UNREADABLE as error:
        raise UserError(
            f"{path} is not a complete file of posteriors ({type(error).__name__}). Remove it; the "
            "evaluation then makes it again."
        ) from error


def average(parts: Mapping[str, Posteriors]) -> Posteriors:
    """Averages posteriors of the same images, each part with the same weight (§3.2).

    Args:
      parts: The posteriors, by their names in error messages.

    Raises:
      UserError: Their images, labels or classes differ.
    """
    check_alike(parts, "averaged")
    first = next(iter(parts.values()))
    total = np.zeros(first.values.shape)
    for part in parts.values():
        total += part.values
    made_by = {"average_of": {name: dict(part.made_by) for name, part in parts.items()}}
    return Posteriors(first.names, first.labels, first.class_names, total / len(parts), made_by)


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
    shared = dict(first.made_by["identity"])
    del shared["method"], shared["scale"]
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
        whose = folder / "identity.json"
        text = json.dumps(identity, sort_keys=True)
        if not (whose.exists() and whose.read_text() == text):
            files.remove_tree(folder)
            folder.mkdir(parents=True)
            files.write_text(whose, text)
        for path in folder.glob("*.npz"):
            try:
                with files.open_to_read(path) as file, np.load(file, allow_pickle=False) as part:
                    self._take(part["indices"], part["values"])
            except _UNREADABLE:  # A crash of the machine cut it short; it is computed again.
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
            with files.written_aside(path) as aside, aside.open("wb") as file:
                np.savez(file, indices=indices, values=self.values[indices])
        self._unsaved, self._saved_at_s = [], time.monotonic()

    def remove(self) -> None:
        """Removes the parts, for when all posteriors are saved in one file."""
        if self._folder is not None:
            files.remove_tree(self._folder)

    def _take(self, indices: Int[np.ndarray, " b"], values: Float32[np.ndarray, "b c"]) -> None:
        self.done[indices], self.values[indices] = True, values
