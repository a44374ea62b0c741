"""The forms of ImageNet: finds out which one a folder holds, and opens its splits."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from vgg_jax.data import image_files, sources
from vgg_jax.data.imagenet import classes, folder_split, parquet_shards, tar_split
from vgg_jax.data.imagenet.folder_split import FolderSplit
from vgg_jax.data.imagenet.parquet import ParquetSource
from vgg_jax.data.imagenet.tar_split import TarSplit
from vgg_jax.data.source import Source, whole
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.sources.tfds import TfdsSource
from vgg_jax.data.specs import IMAGENET, DataSpec, canonical_name
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

TFDS_NAME = "imagenet2012"
SPLITS = ("train", "validation", "test")

FORMS = f"""\
    ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, as image-net.org gives them out
    Kaggle's folder ILSVRC, with LOC_val_solution.csv beside it
    class folders train/n01440764/ and so on; val/ has such folders too, or all its images itself
    the parquet files of the Hugging Face Hub, train-00000-of-00294.parquet and so on
    what TFDS makes, once, in an environment of its own:
        pip install -e '.[prepare]'
        tfds build {TFDS_NAME} --file_format=array_record --data_dir=DIR"""

_EVALUATE = "Without training images it can be evaluated: --mode=eval."
_HOLD_OUT = "Or hold some of the training images out: --config.data.held_out=50000."

# What to do if a split isn't there.
_OF_FILES = {
    "train": "Put ILSVRC2012_img_train.tar there, or the folder train with a folder per synset. "
    f"{_EVALUATE}",
    "validation": f"Put ILSVRC2012_img_val.tar there, or the folder val. {_HOLD_OUT}",
}
_OF_SHARDS = {
    "train": f"Download its shards, train-00000-of-... and so on. {_EVALUATE}",
    "validation": f"Download its shards, validation-00000-of-... and so on. {_HOLD_OUT}",
}


@dataclasses.dataclass(frozen=True)
class Form:
    """What a folder holds.

    Attributes:
      about: A sentence that says what it is and where it lies.
      splits: The names of its splits; None if it isn't ImageNet, but other class folders.
      open: Opens a split, given its name.
      remedies: What to do if a split isn't there.
    """

    about: str
    splits: tuple[str, ...] | None
    open: Callable[[str], Source]
    remedies: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _Place(NamedTuple):
    """Where the image files of one split lie, in a few words, and a function that opens it."""

    about: str
    open: Callable[[], Source]


def recognise(data: DataSpec) -> Form:
    """Finds out what form of ImageNet a data.dir holds.

    If it holds several, those of TFDS and the archives come first: earlier versions read TFDS's
    alone.

    Raises:
      UserError: It holds none, and the message names the forms; or it is a part of a form, or has
        folders among those of synsets.
    """
    root = _root(data)
    require(
        root.name != "Data" or not (root / "CLS-LOC").is_dir(),
        f"{files.printable(root)} is a part of Kaggle's tree of ImageNet. Set --config.data.dir "
        f"to the folder above, {files.printable(root.parent)}.",
    )
    looks = (look(data, root) for look in (_tfds, _image_files, _parquet, _other_folders))
    form = next((form for form in looks if form is not None), None)
    if form is not None:
        return form
    others = " or ".join(name for name in sources.names() if name != IMAGENET)
    about = (
        f"{files.printable(root)} {_lacks(root)}."
        if data.directory
        else f"data.dir is empty, and data.name is {IMAGENET}, not {others}."
    )
    raise UserError(
        f"{about} Give a folder (--config.data.dir) with your images as train/CLASS/image.jpg and "
        f"val/CLASS/image.jpg, or one that holds ImageNet in one of these forms:\n{FORMS}"
    )


def is_ilsvrc(name: str, source: Source) -> bool:
    """Returns whether a split of data.name=imagenet is of ImageNet's classes, or of some of them.

    Args:
      name: The value of data.name.
      source: The split.
    """
    if canonical_name(name) != IMAGENET:
        return False
    match whole(source):
        case FolderSource():
            return False
        case ParquetSource():  # The Hub has other sets in shards too. Test images have no labels.
            return {*source.class_names} <= {*classes.synsets()}
        case _:
            return True


def _root(data: DataSpec) -> Path:
    return files.absolute(files.path(data.directory or "~/tensorflow_datasets"))


def _lacks(root: Path) -> str:
    if not root.exists():
        return "isn't there"
    if root.is_dir():
        return "holds no images"
    if root.suffix.lower() == ".csv":
        return "is a CSV file, which needs --config.data.name=csv"
    return f"is a file; give its folder, {files.printable(root.parent)}"


def _tfds(data: DataSpec, root: Path) -> Form | None:
    if not any(root.glob(f"{TFDS_NAME}/*/dataset_info.json")):
        return None
    spec = dataclasses.replace(data, name=TFDS_NAME)
    return Form(
        f"{files.printable(root)} holds ImageNet as TFDS has prepared it.",
        ("train", "validation"),
        functools.partial(TfdsSource, spec),
    )


def _image_files(data: DataSpec, root: Path) -> Form | None:
    places = dict(_kaggle(root)) or dict(_folders(root))
    if not files.in_bucket(root):
        places |= _archives(root, data.cache_dir)
    if not places:
        _refuse_archives_in_bucket(root)
        return None
    places = _shards(data, root) | places
    where = "; ".join(f"{split}: {places[split].about}" for split in SPLITS if split in places)

    def open_split(split: str) -> Source:
        require(
            split in places,
            f"{files.printable(root)} holds ImageNet ({where}), but no {split} images. "
            f"{_OF_FILES.get(split, '')}",
        )
        return places[split].open()

    about = f"{files.printable(root)} holds ImageNet. {where}."
    splits = tuple(split for split in SPLITS if split in places)
    return Form(about, splits, open_split, remedies=_OF_FILES)


def _archives(root: pathlib.Path, cache_dir: str) -> dict[str, _Place]:
    return {
        split: _Place(
            f"the archive {path.relative_to(root)}",
            functools.partial(TarSplit, path, split, cache_dir),
        )
        for split, path in tar_split.find(root).items()
    }


def _refuse_archives_in_bucket(root: Path) -> None:
    found = [name for name in tar_split.NAMES.values() if (root / name).exists()]
    require(
        not found,
        f"{root} holds {' and '.join(found)}. Archives can't be read in a bucket. Copy them to a "
        "disk, or unpack them into class folders.",
    )


def _kaggle(root: Path) -> Iterator[tuple[str, _Place]]:
    for ilsvrc in (root / "ILSVRC", root):
        base = ilsvrc / "Data/CLS-LOC"
        if base.is_dir():
            solution = ilsvrc.parent / "LOC_val_solution.csv"
            yield from _folders(base, solution if solution.exists() else None)
            if folder_split.is_flat(base / "test", "ILSVRC2012_test_"):
                about = "unlabelled images in test"
                yield "test", _Place(about, functools.partial(FolderSplit, base / "test", "test"))
            return


def _folders(base: Path, solution: Path | None = None) -> Iterator[tuple[str, _Place]]:
    for name in ("train", "val", "validation"):
        _refuse_among_synsets(base / name)
    train = base / "train" if folder_split.is_of_synsets(base / "train") else None
    if train is not None:
        opened = functools.partial(FolderSplit, train, "train")
        yield "train", _Place("class folders in train", opened)
    # The images may also lie in the given folder itself.
    for val in (base / "val", base / "validation", base):
        opened = functools.partial(FolderSplit, val, "validation", train=train, solution=solution)
        if folder_split.is_of_synsets(val, val_alone=val is base):
            yield "validation", _Place(f"class folders in {val.name}", opened)
            return
        if folder_split.is_flat(val):
            labels = solution.name if solution else "their numbers"
            yield "validation", _Place(f"images in {val.name}, labelled by {labels}", opened)
            return


def _refuse_among_synsets(folder: Path) -> None:
    """Refuses folders of other names where most are synsets: all would be other class folders."""
    found = folder_split.subfolders(folder)
    others = [name for name in found if not folder_split.SYNSET.fullmatch(name)]
    require(
        not others or 2 * len(others) >= len(found),
        f"Most folders in {files.printable(folder)} are synsets of ImageNet, but not these: "
        f"{some_of([*map(files.printable, others)])}. Move these away, or take each folder for a "
        "class: --config.data.name=folder.",
    )


def _shards(data: DataSpec, root: Path) -> dict[str, _Place]:
    spec = dataclasses.replace(data, directory=str(root))
    return {
        split: _Place("parquet shards", functools.partial(ParquetSource, spec, split))
        for split in parquet_shards.splits(root)
    }


def _parquet(data: DataSpec, root: Path) -> Form | None:
    splits = parquet_shards.splits(root)
    if not splits:
        return None
    spec = dataclasses.replace(data, directory=str(root))
    return Form(
        f"{files.printable(root)} holds parquet shards of the Hub: {', '.join(splits)}.",
        splits,
        functools.partial(ParquetSource, spec),
        remedies=_OF_SHARDS,
    )


def _other_folders(data: DataSpec, root: Path) -> Form | None:
    # In a bucket, the search for an image would list all that is there.
    if not data.directory or not (files.in_bucket(root) or has_images(root)):
        return None
    found = folder_split.subfolders(root)
    spec = dataclasses.replace(data, name="folder")

    def open_split(split: str) -> Source:
        is_val = split == "validation" and split not in found
        return FolderSource(spec, "val" if is_val else split)

    about = (
        f"{files.printable(root)} holds no ImageNet under its owners' names. Its "
        f"{'class folders are' if found else 'images are'} read as with data.name=folder."
    )
    return Form(about, None, open_split)


def has_images(root: pathlib.Path) -> bool:
    """Returns whether a folder on a disk, or one below it, holds an image."""
    return root.is_dir() and any(True for _ in image_files.below(root))
