"""Checks the config's keys of the images and their crops, and derives values from them."""

from typing import Any, get_args

from ml_collections import ConfigDict

from vgg_jax.data import decode_budget, sources, workers
from vgg_jax.data.source import Source
from vgg_jax.data.sources import folder
from vgg_jax.data.specs import DataSpec, OnUndecodable, ScanOptions, canonical_name
from vgg_jax.data.splits import val_split
from vgg_jax.errors import UserError, require, require_choice
from vgg_jax.storage import files

AUTO_MEAN = ("auto",)  # data.mean_rgb=auto, as a config has it.
ILSVRC_MEAN_RGB = (123.68, 116.779, 103.939)

HELD_OUT = "held_out"  # The split of training images that data.held_out holds out.


def check(c: ConfigDict) -> None:
    """Checks the keys of the data and of the crops' scales (§3.1).

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    require(
        c.num_classes == 0 or c.num_classes >= 2,
        f"num_classes={c.num_classes} must be at least 2, or 0 for as many as the data set has.",
    )
    sources.find(c.data.name)
    require(
        c.data.name != "shapes" or not c.data.dir,
        f"data.dir={c.data.dir} has no effect with data.name=shapes, the embedded set. For "
        "ImageNet, add --config.data.name=imagenet; for other images in a folder, "
        "--config.data.name=folder; for those of a CSV file, --config.data.name=csv.",
    )
    files.path(c.data.dir)  # A path of another kind can't be saved with the run.
    require(
        bool(c.data.cache_dir) and "://" not in c.data.cache_dir,
        f"data.cache_dir={c.data.cache_dir} must be a folder on this machine's disk.",
    )
    require_choice("data.undecodable", c.data.undecodable, get_args(OnUndecodable))
    workers.check("--config.data.num_workers", c.data.num_workers)
    require(
        c.data.decode_bytes >= decode_budget.LEAST_BYTES,
        f"data.decode_bytes={c.data.decode_bytes} must be at least {decode_budget.LEAST_BYTES}; "
        f"{decode_budget.DEFAULT_BYTES} is the default.",
    )
    require(c.data.held_out >= 0, f"data.held_out={c.data.held_out} must be 0 or above.")
    _check_mean(c.data.mean_rgb)
    _check_scales(c)


def _check_mean(mean: tuple[Any, ...]) -> None:
    require(
        mean == AUTO_MEAN
        or (
            len(mean) in (0, 3)
            and all(isinstance(value, int | float) and 0 <= value <= 255 for value in mean)
        ),
        f"data.mean_rgb={mean} must be three numbers from 0 to 255, () to compute it from the "
        "training set, or auto.",
    )


def _check_scales(c: ConfigDict) -> None:
    require(
        len(c.train_scale) == 2
        and all(isinstance(scale, int) for scale in c.train_scale)
        and c.train_scale[0] <= c.train_scale[1],
        f"train_scale={c.train_scale} must be a pair of whole numbers, smallest and largest S: "
        "--config.train_scale=256,512, or 256,256 for S = 256.",
    )
    require(
        c.train_scale[0] >= c.crop_px,
        f"train_scale={c.train_scale} is below the crop of {c.crop_px} px (§3.1 needs S >= the "
        f"crop). Raise train_scale to {c.crop_px} or more, or lower crop_px.",
    )
    require(
        c.val_scale >= c.crop_px,
        f"val_scale={c.val_scale} is below the crop of {c.crop_px} px. "
        f"Raise val_scale to {c.crop_px} or more, or lower crop_px.",
    )


def evaluated_split(c: ConfigDict) -> str:
    """Returns the name of the split that a config validates on and evaluates."""
    return HELD_OUT if c.data.held_out else val_split(data_spec(c))


def is_whole_folder(c: ConfigDict, source: Source) -> bool:
    """Returns whether an evaluation opens all of a folder without splits.

    Args:
      c: The config.
      source: The images that it opens.
    """
    return not c.data.held_out and folder.is_whole(source)


def evaluated_data(c: ConfigDict) -> dict[str, Any]:
    """Returns the values of the keys of data that say which images an evaluation opens."""
    keys = ("train_split", "val_split", "held_out")
    directory = str(files.absolute(files.path(c.data.dir))) if c.data.dir else ""
    name = canonical_name(c.data.name)
    return {"dir": directory, "name": name, **{key: c.data[key] for key in keys}}


def data_spec(c: ConfigDict) -> DataSpec:
    """Returns the description of the images that a config trains and validates on."""
    return DataSpec(
        name=canonical_name(c.data.name),
        directory=c.data.dir,
        train_split=c.data.train_split,
        val_split=c.data.val_split,
        cache_dir=c.data.cache_dir,
        held_out=c.data.held_out,
        seed=c.seed,
    )


def scan_options(c: ConfigDict) -> ScanOptions:
    """Returns the options for scanning a config's images."""
    return ScanOptions(
        cache_dir=c.data.cache_dir,
        undecodable=c.data.undecodable,
        num_workers=c.data.num_workers,
    )


def resolve_num_classes(num_classes: int, class_names: tuple[str, ...]) -> int:
    """Returns the data set's number of classes, after checking the config's against it.

    Raises:
      UserError: The config's number isn't the data set's, or the data set has only one class.
    """
    if len(class_names) < 2:
        raise UserError(
            f"The data set has only one class, {class_names[0]}, so there is nothing to tell "
            "apart. Give it two classes or more."
        )
    if num_classes not in (0, len(class_names)):
        raise UserError(
            f"num_classes={num_classes}, but the data set has {len(class_names)} classes. "
            f"Set --config.num_classes={len(class_names)}, or 0 for as many as the data set has, "
            "or choose another data set with --config.data.name and --config.data.dir."
        )
    return len(class_names)
