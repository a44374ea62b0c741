"""Files of posteriors, which are averaged over scales, methods and nets (§3.2).

One file holds the posteriors of all images of a split for one run, method and Q. Everything else is
arithmetic on these files, in NumPy alone.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from vgg_jax.errors import UserError
from vgg_jax.evaluation import same_images
from vgg_jax.storage import sealed_json, sealed_npz, unread
from vgg_jax.storage.files import Path


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
        unread.refuse(path, error)
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
    require_shape(arrays["values"], (num_images, num_classes))
    _require_probabilities(arrays["values"])


def require_shape(values: np.ndarray, shape: tuple[int, int]) -> None:
    """Checks an array of posteriors that was read.

    Raises:
      ValueError: They are not floats of this shape.
    """
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
      UserError: See `alike`.
    """
    parts = alike(parts, "averaged")
    first = next(iter(parts.values()))
    total = np.zeros(first.values.shape)
    for part in parts.values():
        total += part.values
    made_by = {"average_of": {name: dict(part.made_by) for name, part in parts.items()}}
    return Posteriors(first.names, first.labels, first.class_names, total / len(parts), made_by)


def alike(parts: Mapping[str, Posteriors], purpose: str) -> dict[str, Posteriors]:
    """Returns posteriors of the same images in the first's order, with the first's names.

    Args:
      parts: The posteriors, by their names in the error message.
      purpose: The end of "A and B can't be ..." in the message, for example "averaged".

    Raises:
      UserError: Their images, labels or classes differ, or the images' files do.
    """
    (first_name, first), *others = parts.items()
    on_the_same = "Evaluate both on the same images."
    same = {first_name: first}
    for name, other in others:
        other = same[name] = _in_order(other, first.names)
        for what, ours, theirs, remedy in (
            ("classes", first.class_names, other.class_names, "Choose nets of the same classes."),
            ("images", first.names, other.names, on_the_same),
            ("labels", first.labels.tolist(), other.labels.tolist(), on_the_same),
        ):
            if ours != theirs:
                raise UserError(
                    f"{first_name} and {name} can't be {purpose}: their {what} differ"
                    f"{_difference(ours, theirs)}. {remedy}"
                )
        ours, theirs = (part.made_by.get("identity", {}).get("images") for part in (first, other))
        if ours != theirs and not same_images.are_ilsvrcs(first.names):
            raise UserError(
                f"{first_name} and {name} were evaluated on image files that differ, though they "
                "have the same names. Evaluate both on the same files."
            )
    return same


def _in_order(part: Posteriors, names: tuple[str, ...]) -> Posteriors:
    """Returns posteriors in the order of the names; as they are if their names are others."""
    if part.names == names or (order := same_images.order_of(part.names, names)) is None:
        return part
    return dataclasses.replace(
        part, names=names, labels=part.labels[order], values=part.values[order]
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
    shared = _shared_identity(first)
    for name, other in others:
        theirs = _shared_identity(other)
        differing = [key for key in {**shared, **theirs} if shared.get(key) != theirs.get(key)]
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
    made_by = {"identity": shared, "average_of": {n: dict(p.made_by) for n, p in named.items()}}
    return dataclasses.replace(mean, made_by=made_by)


def _shared_identity(part: Posteriors) -> dict[str, Any]:
    """Returns an identity without the method and the Q, in which a run's parts differ."""
    return {k: v for k, v in part.made_by["identity"].items() if k not in ("method", "scale")}


def parts_made_by(made_by: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields how each file was made that an average is of; `made_by` itself if it is of none."""
    if "average_of" not in made_by:
        yield made_by
    for part in made_by.get("average_of", {}).values():
        yield from parts_made_by(part)


def _difference(ours: Sequence[object], theirs: Sequence[object]) -> str:
    if len(ours) != len(theirs):
        return f" ({len(ours):,} and {len(theirs):,})"
    index = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f" (the first at {index:,}: {ours[index]} and {theirs[index]})"
