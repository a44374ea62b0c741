"""The images that a command's --data and --split name, pooled over several splits."""

import bisect
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vgg_jax.data import image_files
from vgg_jax.data.source import Example, Source, Subset, hashed, whole
from vgg_jax.data.sources.csv import CsvSource
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import hold_out
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import files


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Several splits of the same classes as one source.

    Attributes:
      splits: The names of the splits. They precede the names of the images.
      sources: The sources of the splits.
    """

    splits: tuple[str, ...]
    sources: tuple[Source, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of each split."""
        return self.sources[0].class_names

    @property
    def fingerprint(self) -> str:
        """Hash of the splits' names and fingerprints."""
        return hashed(*self.splits, *(source.fingerprint for source in self.sources))

    @property
    def contents_key(self) -> str:
        """Hash of the splits' names and contents_keys."""
        return hashed(*self.splits, *(source.contents_key for source in self.sources))

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, index: int) -> Example:
        part, index = self._place(index)
        return self.sources[part][index]

    def label(self, index: int) -> int:
        """See `Source`."""
        part, index = self._place(index)
        return self.sources[part].label(index)

    def name(self, index: int) -> str:
        """See `Source`. It is SPLIT/ and the name in the split."""
        part, index = self._place(index)
        return f"{self.splits[part]}/{self.sources[part].name(index)}"

    def _place(self, index: int) -> tuple[int, int]:
        begins = [0, *itertools.accumulate(len(source) for source in self.sources)]
        part = bisect.bisect_right(begins, index) - 1
        return part, index - begins[part]


def open_images(where: str, splits: Sequence[str] | None = None) -> Source:
    """Opens the images of a folder or of a CSV file.

    Args:
      where: FILE.csv, or a folder. With splits it holds SPLIT/CLASS/image.jpg, without them
        CLASS/image.jpg. Where there are no class folders, the images are unlabelled.
      splits: The names of the splits that are pooled; empty for all rows of a file without a
        column split, or for a folder that holds the class folders itself. None is the same, in a
        command that has no --split.

    Raises:
      UserError: The images aren't there, the splits differ in their classes, or a split is given
        twice.
    """
    has_flag, splits = splits is not None, splits or ()
    require(all(splits), f"--split={','.join(splits)} has an empty name. Leave it out.")
    require(len({*splits}) == len(splits), f"--split={','.join(splits)} names a split twice.")
    if where.lower().endswith(".csv"):
        sources = [_of_csv(where, split) for split in splits or ("",)]
    else:
        sources = _of_folder(where, splits, has_flag)
    if len(sources) == 1:
        return sources[0]
    for split, source in zip(splits, sources, strict=True):
        differing = sorted({*source.class_names} ^ {*sources[0].class_names})
        if differing:
            raise UserError(
                f"The splits {splits[0]} and {split} of {where} have different classes: "
                f"{some_of(differing)}. Both must have the same ones to be pooled."
            )
    return Pooled(tuple(splits), tuple(sources))


def holds(images: Source, trained: str, held_out: int, seed: int) -> bool:
    """Returns whether all images that a run was trained on are among some images.

    They are recognised as one of the splits, or as what is left of it if images are held out or
    can't be decoded. They are not recognised if their split here has more images.

    Args:
      images: What `open_images` returns, or those images of it that can be decoded.
      trained: The fingerprint of the run's training images.
      held_out: How many images the run held out of a split; 0 for none.
      seed: The run's seed, by which they were drawn.
    """
    opened = whole(images)
    is_left = np.ones(len(opened), bool)
    if isinstance(images, Subset):
        is_left = np.isin(np.arange(len(opened)), images.indices)
    for part in opened.sources if isinstance(opened, Pooled) else (opened,):
        of_part, is_left = np.split(is_left, [len(part)])
        if held_out >= len(part):
            continue
        train = part
        if held_out:
            train, _ = hold_out(part, held_out, seed)
            of_part = of_part[train.indices]
        if trained in (train.fingerprint, Subset(train, np.flatnonzero(of_part)).fingerprint):
            return True
    return False


def _of_csv(where: str, split: str) -> Source:
    # A split to train on would have to agree with the one to validate on. Here there is none.
    return CsvSource(DataSpec("csv", where, f"not {split}", "", cache_dir=""), split)


def _of_folder(where: str, splits: Sequence[str], has_flag: bool) -> list[Source]:
    folder = files.absolute(files.path(where))
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {where}.{files.similar(folder)} --data takes a folder of class "
            "folders or FILE.csv."
        )
    if not splits:
        _refuse_folder_of_splits(where, folder, has_flag)
        folder, splits = folder.parent, [folder.name]
    missing = [split for split in splits if not (folder / split).is_dir()]
    require(not missing, f"There is no folder {', '.join(missing)} in {where}. Correct --split.")
    return [
        FolderSource(DataSpec("folder", os.fspath(folder), "", "", cache_dir=""), split)
        for split in splits
    ]


def _refuse_folder_of_splits(where: str, folder: files.Path, has_flag: bool) -> None:
    if not isinstance(folder, pathlib.Path):
        return  # In a bucket this would list every folder.
    found = [name for name in _subfolders(folder) if _subfolders(folder / name)]
    if found:
        or_splits = f", or the splits: --split={','.join(found[:2])}" if has_flag else ""
        raise UserError(
            f"The class folders of {where} lie one folder deeper, in {some_of(found)}. Give one of "
            f"them, {os.path.join(where, found[0])}{or_splits}."
        )


def _subfolders(folder: pathlib.Path) -> list[str]:
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not image_files.is_hidden(entry.name)]
    return sorted(entry.name for entry in shown if entry.is_dir())
