"""Opens the training and the validation split of a run, from any kind of source."""

import numpy as np

from vgg_jax.data import sources
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, some_of


def open_sources(data: DataSpec) -> tuple[Source, Source]:
    """Opens the training and the validation split.

    Raises:
      UserError: A split isn't there or has no labels, or the splits differ in their classes, or
        data.held_out isn't below the number of training images.
    """
    train = _open_labelled(data, data.train_split)
    if data.held_out:
        return _hold_out(train, data.held_out, data.seed)
    val = _open_labelled(data, val_split(data))
    if train.class_names != val.class_names:
        differing = sorted({*train.class_names} ^ {*val.class_names})
        raise UserError(
            f"The classes of {data.train_split} and {val_split(data)} differ: "
            f"{some_of(differing)}. Both must have the same classes."
        )
    return train, val


def open_val_source(data: DataSpec) -> Source:
    """Opens only the validation split of `open_sources`. Here it may be unlabelled.

    Raises:
      UserError: The split isn't there, or data.held_out isn't below the number of training images.
    """
    if data.held_out:
        _, val = _hold_out(sources.open_split(data, data.train_split), data.held_out, data.seed)
        return val
    return sources.open_split(data, val_split(data))


def val_split(data: DataSpec) -> str:
    """Returns the name of the split to validate on if no images are held out."""
    return data.val_split or sources.find(data.name).default_val_split


def _open_labelled(data: DataSpec, split: str) -> Source:
    source = sources.open_split(data, split)
    if not source.class_names:
        raise UserError(
            f"The images of {split!r} of {data.directory or data.name} have no labels to train on "
            "or validate with. Unlabelled images can be evaluated: --mode=eval."
        )
    return source


def _hold_out(source: Source, count: int, seed: int) -> tuple[Source, Source]:
    if not 0 < count < len(source):
        raise UserError(
            f"data.held_out={count} must lie between 1 and {len(source) - 1}: the training "
            f"split has {len(source)} images."
        )
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))
