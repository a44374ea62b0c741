"""Says what a data set is, what is missing, and how to train on it and evaluate a net on it.

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
from vgg_jax.data.settings import resolve_num_classes
from vgg_jax.data.source import Source
from vgg_jax.data.sources import csv
from vgg_jax.data.sources.folder import SPLITS, FolderSource
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
_ONE_OF = 5  # One of so many training images is suggested for validation.
BATCH_SIZES = {"a_256.py": 256, "mini.py:a_256": 32}  # Those of the configs that are suggested.
# With fewer training images, smaller steps are suggested: see configs/README.md#few-images.
FEW_IMAGES = 1000
_SMALL_STEPS = {"batch_size": 8, "learning_rate": 2e-3, "plateau.patience_epochs": 10}

_NOT_DECODED = "The scan before training finds images that can't be decoded."

# What to do if a split of other folders isn't there.
_OF_FOLDERS = {
    "train": "Name another one with --config.data.train_split. Without training images a net can "
    "be evaluated on the others: --mode=eval.",
    "val": "Name another one with --config.data.val_split, or hold N of the training images out: "
    "--config.data.held_out=N.",
}


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
            problems.append(str(error).replace("--config.data.cache_dir", "--cache_dir"))
    for line in (*_table(opened), _NOT_DECODED, *_missing(found)):
        print(safe_text.printable(line))
    require(not problems, "\n".join(dict.fromkeys(problems)))
    train, val = _roles(found, opened)
    if train is not None:
        _refuse_untrainable(opened, train, val)
    for line in (*_training(found, opened, train, val), *_evaluation(found, opened, train, val)):
        print(safe_text.printable(line))


def _found(where: str) -> _Found:
    if where.lower().endswith(".csv"):
        return _of_csv(where)
    require(
        files.path(where).is_dir(),
        f"{where} isn't a folder. Name one with the folders train/CLASS and val/CLASS of your "
        "images, one that holds ImageNet, or a CSV file that lists images.",
    )
    form = forms.recognise(DataSpec("imagenet", where, "train", "", _CACHE_DIR.value))
    if form.splits is None:
        return _of_folder(where)
    keys = {"data.dir": where}
    return _Found(form.about, form.splits, form.open, keys, "validation", form.remedies)


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
    data = DataSpec("folder", where, base_config.get_config().data.train_split, "", cache_dir="")
    keys = {"data.name": "folder", "data.dir": where}
    if FolderSource.is_unsplit(data):
        held = "class folders" if folder_split.subfolders(root) else "images without class folders"
        names, remedies = [""], {}
    else:
        held, names, remedies = "folders of splits", _splits(root), _OF_FOLDERS
    about = f"{where} holds {held}."
    if {*names} - {*SPLITS, ""} and not any(folder_split.subfolders(root / name) for name in names):
        about += " If these are classes, move all of them into one folder, train."
    return _Found(about, names, lambda split: FolderSource(data, split), keys, "val", remedies)


def _splits(root: files.Path) -> list[str]:
    """Returns the folders that have the name of a split, or that a config can name as one."""
    # In a bucket, the search for an image would list all that is there.
    is_split = folder_split.subfolders if files.in_bucket(root) else forms.has_images
    found = folder_split.subfolders(root)
    return [name for name in found if name in SPLITS or is_split(root / name)]


def _table(opened: Mapping[str, Source]) -> Iterator[str]:
    yield f"{'split':<12}{'images':>12}{'classes':>12}"
    for split, source in opened.items():
        classes = f"{len(source.class_names):,}" if source.class_names else "no labels"
        yield f"{split or 'all':<12}{len(source):>12,}{classes:>12}"


def _missing(found: _Found) -> Iterator[str]:
    for split, remedy in found.remedies.items():
        if split not in found.splits:
            yield f"There is no split {split}. {remedy}"


def _roles(found: _Found, opened: Mapping[str, Source]) -> tuple[str | None, str | None]:
    """Returns the splits to train and to validate on; None where there is none with labels."""
    labelled = [split for split, source in opened.items() if source.class_names]
    # Validation images alone aren't there to be trained on.
    train = max(
        (split for split in labelled if split != found.val_split),
        key=lambda split: (split == "train", split.startswith("train"), len(opened[split])),
        default=None,
    )
    others = [s for s in (found.val_split, *labelled) if s in labelled and s != train]
    return train, others[0] if others else None


def _refuse_untrainable(opened: Mapping[str, Source], train: str, val: str | None) -> None:
    class_names = opened[train].class_names
    if val is not None:
        refuse_other_classes(train, class_names, val, opened[val].class_names)
    resolve_num_classes(0, class_names)


def _training(
    found: _Found, opened: Mapping[str, Source], train: str | None, val: str | None
) -> Iterator[str]:
    """Yields the command that trains on the data, if they can be trained on."""
    if train is None:
        return
    keys: dict[str, str | int] = dict(found.keys)
    keys |= {} if train in ("", "train") else {"data.train_split": train}
    if val is None:
        keys["data.held_out"] = max(1, len(opened[train]) // _ONE_OF)
    elif val != found.val_split:
        keys["data.val_split"] = val
    if len(opened[train].class_names) == _PAPERS_CLASSES:
        configs = {"Train on them": ("a_256.py", {})}
    elif len(opened[train]) < FEW_IMAGES:
        title = "Train a miniature net on them; the whole net would need more images"
        configs = {title: ("mini.py:a_256", dict(_SMALL_STEPS))}
    else:
        configs = {
            "Train a miniature net on them, on a CPU": ("mini.py:a_256", {}),
            "Train the whole net A on them, on a GPU": ("a_256.py", {"num_classes": 0}),
        }
    for title, (config, more) in configs.items():
        batch_size = more.get("batch_size", BATCH_SIZES[config])
        fits = min(batch_size, len(opened[train]) - keys.get("data.held_out", 0))
        more |= {} if fits == batch_size else {"batch_size": fits}
        yield f"{title}:"
        yield f"    python -m vgg_jax.main --config=configs/{config} {_flags(keys | more)}"


def _evaluation(
    found: _Found, opened: Mapping[str, Source], train: str | None, val: str | None
) -> Iterator[str]:
    """Yields the command that evaluates a net on what isn't there to be trained on, or on all."""
    splits = [s for s in (val, found.val_split, *opened) if s in opened and (s == "" or s != train)]
    if not splits:
        return
    keys = dict(found.keys)
    keys |= {} if splits[0] in ("", found.val_split) else {"data.val_split": splits[0]}
    yield "Evaluate a run's net on them:"
    yield f"    python -m vgg_jax.main --mode=eval --workdir=RUN {_flags(keys)}"


def _flags(keys: Mapping[str, str | int | float]) -> str:
    return shlex.join(f"--config.{key}={value}" for key, value in keys.items())


if __name__ == "__main__":
    command_line.run(main)
