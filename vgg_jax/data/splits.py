"""Opens the training and the validation split of a run, from any kind of source."""

import numpy as np

from vgg_jax.data import sources
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import IMAGENET, DataSpec
from vgg_jax.errors import UserError, some_of


def open_sources(data: DataSpec) -> tuple[Source, Source]:
    """Opens the training and the validation split.

    Raises:
      UserError: A split isn't there or has no labels, or the splits differ in their classes, or
        data.held_out isn't below the number of training images.
    """
    if data.held_out:
        train = _open_labelled(data, data.train_split)
        return hold_out(train, data.held_out, data.seed)
    if data.train_split == val_split(data):
        raise UserError(
            f"data.val_split={data.train_split} would validate on the images that the net is "
            "trained on. Name another split, or hold N of the training images out: "
            "--config.data.held_out=N."
        )
    train = _open_labelled(data, data.train_split)
    val = _open_labelled(data, val_split(data))
    refuse_other_classes(data.train_split, train.class_names, val_split(data), val.class_names)
    return train, val


def refuse_other_classes(
    train_split: str, train_names: tuple[str, ...], val_split: str, val_names: tuple[str, ...]
) -> None:
    """Checks that the classes of the training and the validation split are the same.

    Raises:
      UserError: They differ; the message names what each split lacks.
    """
    if train_names != val_names:
        raise UserError(
            f"The classes of {train_split} and {val_split} differ. "
            + _lacking(train_split, train_names, val_names)
            + _lacking(val_split, val_names, train_names)
            + "Both must have the same classes: put images of each class into both, or remove the "
            "class from both. Or validate on training images: --config.data.held_out=N."
        )


def _lacking(split: str, names: tuple[str, ...], of_other: tuple[str, ...]) -> str:
    lacking = sorted({*of_other} - {*names})
    return f"{split} lacks {some_of(lacking)}. " if lacking else ""


def open_val_source(data: DataSpec) -> Source:
    """Opens only the validation split of `open_sources`. Here it may be unlabelled.

    Raises:
      UserError: The split isn't there, or data.held_out isn't below the number of training images.
    """
    if data.held_out:
        train = sources.open_split(data, data.train_split)
        _, val = hold_out(train, data.held_out, data.seed)
        return val
    return sources.open_split(data, val_split(data))


def val_split(data: DataSpec) -> str:
    """Returns the name of the split to validate on if no images are held out."""
    split = data.val_split or sources.find(data.name).default_val_split
    return "validation" if data.name == IMAGENET and split == "val" else split  # It takes both.


def _open_labelled(data: DataSpec, split: str) -> Source:
    source = sources.open_split(data, split)
    if not source.class_names:
        raise UserError(
            f"The images of {split!r} of {data.directory or data.name} have no labels to train on "
            "or validate with. Unlabelled images can be evaluated: --mode=eval."
        )
    return source


def hold_out(source: Source, count: int, seed: int) -> tuple[Subset, Subset]:
    """Splits images into those to train on and `count` random ones to validate on.

    Raises:
      UserError: The count isn't below the number of images.
    """
    if not 0 < count < len(source):
        raise UserError(
            f"data.held_out={count} must lie between 1 and {len(source) - 1}: the training "
            f"split has {len(source)} images."
        )
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))
