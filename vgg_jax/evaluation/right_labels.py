"""Several right labels per image, as in ReaL (Beyer et al. 2020), from a JSON file."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from vgg_jax.errors import UserError, require
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.storage import files, sealed_json
from vgg_jax.storage.files import Path


@dataclasses.dataclass(frozen=True)
class RightLabels:
    """The right labels of images.

    Attributes:
      of_images: The classes of each image, in rising order; empty for an image without a label.
      sha256: The digest of the file.
    """

    of_images: tuple[tuple[int, ...], ...]
    sha256: str


def read(path: Path, names: tuple[str, ...], num_classes: int) -> RightLabels:
    """Reads a list of class indices for each image.

    Args:
      path: A JSON file: a list of lists, in the order of the sorted names of the image files,
        without their folders.
      names: The names of the images.
      num_classes: The number of classes.

    Raises:
      UserError: The file can't be read or holds something else, its length isn't the number of
        images, an index is not that of a class, no image has a label, or the order is not clear,
        because two images have one file name.
    """
    try:
        data = files.read(path)
        lists = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read: {sealed_json.reason(error)}.") from error
    _refuse_other(lists, path, num_classes)
    require(
        len(lists) == len(names),
        f"{path} has {len(lists):,} lists, and there are {len(names):,} images. Give "
        "one list per image, in the order of the sorted file names.",
    )
    require(any(lists), f"{path} has no label for any image.")
    order = _order(names, path)
    of_images: list[tuple[int, ...]] = [()] * len(names)
    for index, labels in zip(order, lists, strict=True):
        of_images[index] = tuple(sorted({*labels}))
    return RightLabels(tuple(of_images), hashlib.sha256(data).hexdigest())


def applied(posteriors: Posteriors, labels: RightLabels) -> Posteriors:
    """Gives each image the most probable one of its right labels as its only label.

    An image is then right if its best class, or one of its best five, is a right label. Images
    without a label are left out.
    """
    kept = [index for index, right in enumerate(labels.of_images) if right]
    best = []
    for index in kept:
        right = np.array(labels.of_images[index])
        # The first one of equal ones has the lowest index, which ranks highest.
        best.append(right[posteriors.values[index, right].argmax()])
    return dataclasses.replace(
        posteriors,
        names=tuple(posteriors.names[index] for index in kept),
        labels=np.array(best, np.int32),
        values=posteriors.values[kept],
    )


def _refuse_other(lists: Any, path: Path, num_classes: int) -> None:
    require(
        isinstance(lists, list),
        f"{path} holds a {type(lists).__name__}, not a list of lists of class indices.",
    )
    for place, labels in enumerate(lists):
        if not isinstance(labels, list) or any(type(label) is not int for label in labels):
            raise UserError(
                f"{path} holds {str(labels)[:80]} at {place:,}, not a list of class indices."
            )
        for label in labels:
            require(
                0 <= label < num_classes,
                f"{path} has the class index {label} at {place:,}, and the net has "
                f"{num_classes:,} classes, which are counted from 0.",
            )


def _order(names: tuple[str, ...], path: Path) -> list[int]:
    of_files = [pathlib.PurePosixPath(name).name for name in names]
    order = sorted(range(len(names)), key=of_files.__getitem__)
    for one, other in itertools.pairwise(order):
        require(
            of_files[one] != of_files[other],
            f"{names[one]} and {names[other]} have the same file name, so the order of the lists "
            f"in {path} is not clear. Give each image a name of its own.",
        )
    return order
