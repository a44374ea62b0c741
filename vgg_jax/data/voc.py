"""VOC's folders: JPEGImages/ and the image sets ImageSets/Main/CLASS_SET.txt."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int8

from vgg_jax.data.source import Source, Subset
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, require, some_of

_SETS = ("train", "val", "trainval", "test")
_Labels = Mapping[str, int]  # By the image's name without its suffix.


@dataclasses.dataclass(frozen=True)
class VocImages:
    """The images that VOC's image sets name, and their labels.

    Attributes:
      source: The images, unlabelled, because an image can show several classes.
      class_names: The names of the classes, sorted.
      train_set, test_set: The image sets that are trained on and tested on, such as "train+val"
        and "test".
      labels: 1 for each class that an image shows, -1 for each that it doesn't show, and 0 for one
        that is difficult to see.
      is_test: Whether each image is in the test set.
    """

    source: Source
    class_names: tuple[str, ...]
    train_set: str
    test_set: str
    labels: Int8[np.ndarray, "n k"]
    is_test: Bool[np.ndarray, " n"]

    def rows_of(self, source: Source) -> list[int]:
        """Returns the places here of another source's images, which are some of this one's."""
        places = {self.source.name(i): i for i in range(len(self.source))}
        return [places[source.name(i)] for i in range(len(source))]


def open_voc(where: str) -> VocImages:
    """Opens a folder of VOC, for example VOCdevkit/VOC2007.

    Where there is a set test, train and val (or trainval) are trained on. Otherwise train is
    trained on, and val is the test set, because VOC-12's test labels aren't public.

    Raises:
      UserError: Folders, sets or images aren't there, a line isn't "IMAGE LABEL", the classes of a
        set name different images, or an image is in both sets.
    """
    root = pathlib.Path(where).expanduser().absolute()
    sets = _class_files(root / "ImageSets/Main")
    train_sets, test_set = _choice(root, sets)
    class_names = tuple(sorted(sets[test_set]))
    train = _read_sets([sets[name] for name in train_sets], class_names)
    test = _read_sets([sets[test_set]], class_names)
    doubled = sorted(train.keys() & test.keys())
    require(
        not doubled,
        f"These images are in the training and in the test set of {where}: {some_of(doubled)}.",
    )
    labels = train | test
    spec = DataSpec("folder", os.fspath(root), "", "", cache_dir="")
    whole = FolderSource(spec, "JPEGImages")
    stems = [pathlib.PurePath(whole.name(i)).stem for i in range(len(whole))]
    missing = sorted(labels.keys() - {*stems})
    require(not missing, f"{root / 'JPEGImages'} lacks these images: {some_of(missing)}.")
    chosen = [i for i, stem in enumerate(stems) if stem in labels]
    return VocImages(
        Subset(whole, np.array(chosen)),
        class_names,
        "+".join(train_sets),
        test_set,
        np.array([labels[stems[i]] for i in chosen], np.int8),
        np.array([stems[i] in test for i in chosen]),
    )


def _class_files(folder: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
    """Finds the files CLASS_SET.txt. Returns their paths by set, then by class."""
    found: dict[str, dict[str, pathlib.Path]] = {}
    for path in folder.glob("*_*.txt"):
        class_name, _, of_set = path.stem.rpartition("_")
        if of_set in _SETS:
            found.setdefault(of_set, {})[class_name] = path
    return found


def _choice(
    root: pathlib.Path, sets: Mapping[str, Mapping[str, pathlib.Path]]
) -> tuple[tuple[str, ...], str]:
    both = ("train", "val")
    if "test" in sets:
        training = both if {*both} <= sets.keys() else ("trainval",)
        chosen = (training, "test")
    else:
        chosen = (("train",), "val")
    needed = [*chosen[0], chosen[1]]
    if not {*needed} <= sets.keys():
        raise UserError(
            f"{root} has no image sets of VOC: ImageSets/Main/ must hold CLASS_train.txt and "
            "CLASS_val.txt for each class, and CLASS_test.txt if there is a test set."
        )
    differing = sorted(set.union(*({*sets[n]} for n in needed))
                       - set.intersection(*({*sets[n]} for n in needed)))  # fmt: skip
    require(
        not differing,
        f"{root}/ImageSets/Main lacks one of the sets {', '.join(needed)} of these classes: "
        f"{some_of(differing)}.",
    )
    return chosen


def _read_sets(
    sets: list[dict[str, pathlib.Path]], class_names: tuple[str, ...]
) -> dict[str, list[int]]:
    """Reads some sets together. Returns the labels of each image, in the order of the classes."""
    labels: dict[str, list[int]] = {}
    for of_set in sets:
        by_class = [_read(of_set[name]) for name in class_names]
        for name, of_class in zip(class_names, by_class, strict=True):
            differing = sorted(of_class.keys() ^ by_class[0].keys())
            require(
                not differing,
                f"{of_set[class_names[0]]} and {of_set[name].name} name different images: "
                f"{some_of(differing)}.",
            )
        for image in by_class[0]:
            labels[image] = [of_class[image] for of_class in by_class]
    return labels


def _read(path: pathlib.Path) -> _Labels:
    labels = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match line.split():
            case [image, "1" | "+1" | "-1" | "0" as label]:
                labels[image] = int(label)
            case []:
                pass
            case _:
                raise UserError(
                    f"{path}:{number}: {line!r} is not an image's name and 1, -1 or 0, for example "
                    "'000012 -1'."
                )
    require(bool(labels), f"{path} names no images.")
    return labels
