"""ImageNet's images as files in folders, sorted by synset or not, on a disk or in a bucket."""

import os
import posixpath
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from vgg_jax.data import image_files
from vgg_jax.data.imagenet import val_labels
from vgg_jax.data.imagenet.file_split import FileSplit, doubled, in_order, labels_of
from vgg_jax.data.source import Example
from vgg_jax.data.sources.folder import listed
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import files, gcs
from vgg_jax.storage.files import Path

SYNSET = re.compile(r"n\d{8}")
_TRAIN_NAME = re.compile(r"n\d{8}_\d+\.\w+")


class FolderSplit(FileSplit):
    """The images in a folder and in the folders of its synsets."""

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        train: Path | None = None,
        solution: Path | None = None,
    ) -> None:
        """Lists the images.

        Args:
          root: The folder, with a folder per synset; or with images alone, which are those of the
            validation split, or of the unlabelled test split.
          split: "train", "validation" or "test".
          train: The folder with the training images of each synset, which says what the classes of
            images without class folders are; None for those that occur.
          solution: Kaggle's CSV file with the labels of the validation images; None for the labels
            by their numbers.

        Raises:
          UserError: The folder has no images; or a synset has none; or two images have the same
            name, or one has no label.
        """
        found = _listed(root)
        images = [(folder, entry) for folder, entries in found.items() for entry in entries]
        names = np.array([os.fsencode(posixpath.basename(entry.name)) for _, entry in images])
        if split == "test":
            class_names, labels = (), np.full(len(images), -1, np.int32)
        else:
            class_names, synsets = tuple(sorted(filter(None, found))), [f for f, _ in images]
            if not class_names:
                class_names, synsets = _by_name(names, root, train, solution)
            labels = labels_of(synsets, class_names)
        order = in_order(names, labels)
        folders = [
            posixpath.join(folder, posixpath.dirname(entry.name)) for folder, entry in images
        ]
        self._root, (self._folders, numbers) = root, _numbered(folders)
        self._folder_of = numbers[order]
        sizes = np.array([entry.size for _, entry in images], np.int64)
        newest_ns = max(entry.modified_ns for _, entry in images)
        super().__init__(
            class_names, names[order], labels[order], sizes[order], f"{split} {newest_ns}"
        )
        self._refuse_doubled()

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        return image_files.read(self._path(index), self.label(index))

    def _path(self, index: int) -> Path:
        name = os.fsdecode(bytes(self._names[index]))
        return self._root / self._folders[self._folder_of[index]] / name

    def _refuse_doubled(self) -> None:
        if (found := doubled(self._names)) is not None:
            one, other = map(self._path, found)
            raise UserError(f"{one} and {other} have the same name. Remove one of them.")


def _listed(root: Path) -> dict[str, list[gcs.Entry]]:
    found = listed(root)
    empty = sorted(name for name, entries in found.items() if name and not entries)
    require(
        not empty,
        f"These class folders in {root} hold no images: {some_of(empty)}. Fill them, or remove "
        "them from every split.",
    )
    require(any(found.values()), f"{root} holds no images. Fill it.")
    return found


def _by_name(
    names: np.ndarray, root: Path, train: Path | None, solution: Path | None
) -> tuple[tuple[str, ...], list[str]]:
    """Returns the classes of validation images without class folders, and the synset of each."""
    texts = [os.fsdecode(name) for name in names.tolist()]
    if solution is None:
        synsets = val_labels.by_number(texts, str(root))
    else:
        synsets = val_labels.by_solution(texts, str(root), solution)
    if train is None:
        return tuple(sorted({*synsets})), synsets
    class_names = tuple(subfolders(train))
    others = sorted({*synsets} - {*class_names})
    require(
        not others,
        f"{root} has images of classes that have no folder in {train}: {some_of(others)}. Remove "
        "these images, or sort them into folders of their synsets to see which they are.",
    )
    return class_names, synsets


def _numbered(folders: Sequence[str]) -> tuple[tuple[str, ...], Int32[np.ndarray, " n"]]:
    """Returns the different folders, and the number of each image's folder among them."""
    number_of = {folder: number for number, folder in enumerate(dict.fromkeys(folders))}
    return tuple(number_of), np.array([number_of[folder] for folder in folders], np.int32)


def subfolders(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted; none if it doesn't exist."""
    if files.in_bucket(folder):
        names = gcs.folders(folder)
    elif folder.is_dir():
        names = [entry.name for entry in os.scandir(folder) if image_files.is_folder(entry)]
    else:
        names = []
    return sorted(name for name in names if not image_files.is_hidden(name))


def is_of_synsets(folder: Path, *, val_alone: bool = False) -> bool:
    """Returns whether a folder has folders of synsets alone, with images as ILSVRC names them.

    Args:
      folder: The folder.
      val_alone: Whether the names must be those of validation images. Otherwise they may also be
        those of training images, as in the validation split of Imagenette.
    """
    found = subfolders(folder)
    if not found or not all(map(SYNSET.fullmatch, found)):
        return False
    first = _first_image(folder / found[0])
    if first is None:
        return not val_alone
    return bool(
        val_labels.NAME.fullmatch(first) or (not val_alone and _TRAIN_NAME.fullmatch(first))
    )


def is_flat(folder: Path, prefix: str = "ILSVRC2012_val_") -> bool:
    """Returns whether a folder holds images whose names begin like ILSVRC's, and no folders."""
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else iter(())
    shown = [name for name in names if not image_files.is_hidden(name)]
    return any(name.startswith(prefix) for name in shown) and not subfolders(folder)


def _first_image(folder: Path) -> str | None:
    if files.in_bucket(folder):
        names = [entry.name for entry in folder.iterdir()]
    else:
        names = [posixpath.basename(entry.name) for entry in image_files.below(folder)]
    return min(filter(image_files.is_image, names), default=None)
