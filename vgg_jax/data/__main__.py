"""Says what a data set is, what is missing, and how to train on it.

    python -m vgg_jax.data /data/imagenet
    python -m vgg_jax.data my_images
    python -m vgg_jax.data photos.csv

It recognises every form of ImageNet that data.name=imagenet reads, class folders and CSV files. It
lists the images, but doesn't decode them: the scan before training does.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from absl import flags

from vgg_jax import base_config, safe_text
from vgg_jax.data.imagenet import folder_split, forms
from vgg_jax.data.listed_images import ListedImages
from vgg_jax.data.source import Source
from vgg_jax.data.sources import csv
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import refuse_other_classes
from vgg_jax.errors import UserError, require
from vgg_jax.storage import files
from vgg_jax.system import command_line

_CACHE_DIR = flags.DEFINE_string(
    "cache_dir",
    base_config.get_config().data.cache_dir,
    "The folder that keeps where the images of ImageNet's archives lie, as data.cache_dir of a "
    "config, for example /scratch/cache.",
)

_PAPERS_CLASSES = base_config.get_config().num_classes
_ONE_OF = 10  # One of so many training images is suggested for validation.


class _Found(NamedTuple):
    """A data set.

    Attributes:
      about: A sentence that says what it is and where it lies.
      splits: The names of its splits; "" means all of it.
      open: Opens a split.
      keys: The config's keys that name it.
      val_split: The split that is validated on by default.
      remedies: What to do if a split isn't there.
    """

    about: str
    splits: Sequence[str]
    open: Callable[[str], Source]
    keys: Mapping[str, str]
    val_split: str
    remedies: Mapping[str, str]


def main(argv: list[str]) -> None:
    """Prints what a data set is.

    Raises:
      UserError: It is none that this project reads, or one of its splits can't be used.
    """
    require(len(argv) == 2, "Name one folder or FILE.csv, for example /data/imagenet.")
    found = _found(argv[1])
    print(safe_text.lines(found.about))
    opened, problems = {}, []
    for split in found.splits:
        try:
            opened[split] = found.open(split)
        except UserError as error:
            problems.append(str(error))
    lines = [*_table(opened), *_missing(found)]
    lines += [] if problems else _commands(found, opened)
    for line in lines:
        print(safe_text.printable(line))
    require(not problems, "\n".join(problems))


def _found(where: str) -> _Found:
    if where.lower().endswith(".csv"):
        return _of_csv(where)
    form = forms.recognise(DataSpec("imagenet", where, "train", "", _CACHE_DIR.value))
    if form.splits is None:
        return _of_folder(where)
    keys = {"data.dir": where}
    return _Found(form.about, form.splits, form.open, keys, "validation", forms.REMEDIES)


def _of_csv(where: str) -> _Found:
    listing = csv.read(where)
    # A split to train on would have to agree with the one to validate on.
    data = DataSpec("csv", where, "no split", "", cache_dir="")
    names = sorted({row.split for row in listing.rows})
    about = f"{where} lists images{' of these splits' if listing.has_splits else ''}."
    keys = {"data.name": "csv", "data.dir": where}
    return _Found(about, names, lambda split: ListedImages(listing, data, split), keys, "val", {})


def _of_folder(where: str) -> _Found:
    root = files.path(where)
    found = folder_split.subfolders(root)
    names = [name for name in found if folder_split.subfolders(root / name)]
    about = f"{where} holds {'class folders' if found else 'images without class folders'}."
    data = DataSpec("folder", where, "no split", "", cache_dir="")
    keys = {"data.name": "folder", "data.dir": where}
    return _Found(about, names or [""], lambda split: FolderSource(data, split), keys, "val", {})


def _table(opened: Mapping[str, Source]) -> Iterator[str]:
    yield f"{'split':<12}{'images':>12}{'classes':>12}"
    for split, source in opened.items():
        classes = f"{len(source.class_names):,}" if source.class_names else "no labels"
        yield f"{split or 'all':<12}{len(source):>12,}{classes:>12}"


def _missing(found: _Found) -> Iterator[str]:
    for split, remedy in found.remedies.items():
        if split not in found.splits:
            yield f"There is no split {split}. {remedy}"


def _commands(found: _Found, opened: Mapping[str, Source]) -> Iterator[str]:
    """Yields the command that trains on the data, or else the one that evaluates a net on them."""
    keys = dict(found.keys)
    labelled = [split for split, source in opened.items() if source.class_names]
    # Validation images alone aren't there to be trained on.
    train = next((s for s in ("train", *labelled) if s in labelled and s != found.val_split), None)
    others = [s for s in (found.val_split, *labelled) if s in labelled and s != train]
    if train is None:
        yield "Evaluate a run's net on them:"
        split = found.val_split if found.val_split in opened else next(iter(opened))
        keys |= {} if split in ("", found.val_split) else {"data.val_split": split}
        yield f"    python -m vgg_jax.main --mode=eval --workdir=RUN {_flags(keys)}"
        return
    keys |= {} if train in ("", "train") else {"data.train_split": train}
    if not others:
        keys["data.held_out"] = max(1, len(opened[train]) // _ONE_OF)
    elif others[0] != found.val_split:
        keys["data.val_split"] = others[0]
    class_names = opened[train].class_names
    if others:
        refuse_other_classes(train, class_names, others[0], opened[others[0]].class_names)
    keys |= {} if len(class_names) == _PAPERS_CLASSES else {"num_classes": 0}
    yield "Train on them:"
    yield f"    python -m vgg_jax.main --config=configs/a_256.py {_flags(keys)}"


def _flags(keys: Mapping[str, str | int]) -> str:
    return shlex.join(f"--config.{key}={value}" for key, value in keys.items())


if __name__ == "__main__":
    command_line.run(main)
