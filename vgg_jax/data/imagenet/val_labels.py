"""The synsets of the 50,000 validation images, whose names don't say them."""

import csv
import functools
import importlib.util
import pathlib
import re
from collections.abc import Sequence

from vgg_jax.data.imagenet import classes
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")


def by_number(names: Sequence[str], where: str) -> list[str]:
    """Returns the synset of each image, by the number in its name.

    Args:
      names: The names of validation images.
      where: The archive or folder that holds them, for messages.

    Raises:
      UserError: A name has no number of a validation image.
    """
    known = _of_all()
    numbers = [int(match[1]) if (match := NAME.fullmatch(name)) else 0 for name in names]
    wrong = [
        name for name, number in zip(names, numbers, strict=True) if not 1 <= number <= len(known)
    ]
    require(
        not wrong,
        f"These images in {where} have no label: {some_of(wrong)}. Without class folders an image "
        f"must be one of ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_{len(known):08}.JPEG. "
        "Remove the others, or sort the images into folders of their synsets.",
    )
    return [known[number - 1] for number in numbers]


@functools.cache
def _of_all() -> tuple[str, ...]:
    # Importing the package would take a second.
    (package,) = importlib.util.find_spec("tensorflow_datasets").submodule_search_locations
    path = pathlib.Path(package, "datasets/imagenet2012/validation_labels.txt")
    try:
        return tuple(path.read_text("utf-8").split())
    except OSError as error:
        raise UserError(
            f"The labels of the validation images can't be read: {path}: {error.strerror}. Install "
            "the package tensorflow-datasets again."
        ) from error


def by_solution(names: Sequence[str], where: str, solution: Path) -> list[str]:
    """Returns the synset of each image, by Kaggle's LOC_val_solution.csv.

    Args:
      names: The names of validation images.
      where: The folder that holds them, for messages.
      solution: The CSV file, with the columns ImageId and PredictionString.

    Raises:
      UserError: The file can't be read, lacks an image or has one that isn't there, or names an
        unknown synset.
    """
    known = _read(solution)
    stems = [name.rpartition(".")[0] for name in names]
    unlisted = [stem for stem in stems if stem not in known]
    require(
        not unlisted,
        f"{solution} has no rows of these images in {where}: {some_of(unlisted)}. Download the "
        "file again, or remove it: the number in a validation image's name also says its class.",
    )
    absent = sorted(known.keys() - {*stems})
    require(
        not absent,
        f"{where} lacks images that {solution} lists: {some_of(absent)}. Unpack them again. If you "
        "want to do without them, remove the file: the number in a validation image's name also "
        "says its class.",
    )
    return [known[stem] for stem in stems]


def _read(solution: Path) -> dict[str, str]:
    """Returns the synsets by the names of the images, without their suffixes."""
    try:
        rows = list(csv.reader(files.read(solution).decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{solution} can't be read: {error}. Download it again.") from error
    require(
        bool(rows) and rows[0] == ["ImageId", "PredictionString"],
        f"{solution} must begin with the line ImageId,PredictionString. Download it again.",
    )
    known = {}
    for line, row in enumerate(rows[1:], 2):
        # A synset and the corners of a box for each object, all of the same synset.
        synset = row[1].split(" ")[0] if len(row) == 2 else ""
        require(
            synset in classes.words(),
            f"{solution}:{line}: {synset!r} is none of ImageNet's 1,000 synsets. Download the file "
            "again.",
        )
        known[row[0]] = synset
    return known
