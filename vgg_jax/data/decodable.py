"""Splits of decodable images only. Undecodable ones are refused, or reported and left out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from vgg_jax import safe_text
from vgg_jax.data.scan import scan
from vgg_jax.data.scan_files import cache_path
from vgg_jax.data.scan_results import Rgb, Scan, packed, unpacked
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import ScanOptions
from vgg_jax.errors import NUM_NAMED, UserError, some_of
from vgg_jax.system import processes


class SizedImages(NamedTuple):
    """A source of decodable images only, and the height and width of each, in px."""

    source: Source
    sizes: Int32[np.ndarray, "n 2"]


class TrainingSplits(NamedTuple):
    """A run's splits, with decodable images only.

    Attributes:
      train_source, val: The splits.
      mean_rgb: See `Scan`, of the training split.
      class_counts: The number of training images of each class.
    """

    train_source: Source
    val: SizedImages
    mean_rgb: Rgb
    class_counts: tuple[int, ...]


def training_splits(
    train_source: Source, val_source: Source, options: ScanOptions
) -> TrainingSplits:
    """Scans both splits, and refuses or leaves out undecodable images.

    The first process of a job does it for all processes, which must call this together.

    Raises:
      UserError: Images can't be decoded and the options say "refuse"; or no decodable image of a
        split, or of a class to train on, is left; or images have no label.
    """

    def scanned() -> tuple[Rgb, tuple[int, ...], str, str]:
        splits = _scanned({"training": train_source, "validation": val_source}, options)
        for split in splits:
            _refuse_unlabelled(split)
        train = splits[0]
        _refuse_lost_classes(train)
        _tell(splits)
        sizes = (packed(split.found.sizes) for split in splits)
        return train.found.mean_rgb, train.found.class_counts, *sizes

    def read(message: Sequence[Any]) -> TrainingSplits:
        (red, green, blue), class_counts, train_sizes, val_sizes = message
        return TrainingSplits(
            _decodable(train_source, train_sizes).source,
            _decodable(val_source, val_sizes),
            (float(red), float(green), float(blue)),
            tuple(map(int, class_counts)),
        )

    return processes.from_first(scanned, read)


def one_split(source: Source, name: str, options: ScanOptions) -> SizedImages:
    """Scans one split, labelled or not, and refuses or leaves out undecodable images.

    The first process of a job does it for all processes, which must call this together.

    Args:
      source: The split.
      name: The word for its images in messages, for example "validation".
      options: How to scan it.

    Raises:
      UserError: Images can't be decoded, and the options say "refuse" or no image is left.
    """

    def scanned() -> str:
        splits = _scanned({name: source}, options)
        _tell(splits)
        return packed(splits[0].found.sizes)

    return processes.from_first(scanned, lambda sizes: _decodable(source, sizes))


class _Split(NamedTuple):
    name: str
    source: Source
    found: Scan
    cache_file: str

    @property
    def how_many(self) -> str:
        return (
            f"{len(self.found.undecodable):,} of the {len(self.source):,} {self.name} images can't "
            "be decoded"
        )

    def listed(self) -> str:
        undecodable = self.found.undecodable
        lines = [f"    {image.key}: {image.reason}\n" for image in undecodable[:NUM_NAMED]]
        more = len(undecodable) - NUM_NAMED
        if more > 0:
            lines.append(f"    and {more:,} more: see {self.cache_file}\n")
        return f"{self.how_many}:\n{''.join(lines)}"


def _scanned(sources: Mapping[str, Source], options: ScanOptions) -> list[_Split]:
    splits = [
        _Split(
            name, source, scan(source, name, options), f"{cache_path(source, options.cache_dir)}"
        )
        for name, source in sources.items()
    ]
    damaged = [split for split in splits if split.found.undecodable]
    if damaged and options.undecodable == "refuse":
        raise UserError(
            "".join(split.listed() for split in damaged)
            + "Repair or remove them, or go on without them: "
            + f"{options.undecodable_flag}=leave_out."
        )
    for split in damaged:
        if split.found.mean_rgb is None:
            raise UserError(f"{split.listed()}No image is left. Check what the data set holds.")
    return splits


def _refuse_unlabelled(split: _Split) -> None:
    found = split.found
    unlabelled = len(found.sizes) - len(found.undecodable) - sum(found.class_counts)
    if unlabelled:
        raise UserError(
            f"{unlabelled:,} of the {len(found.sizes):,} {split.name} images have no label. Choose "
            "another split; unlabelled images can be evaluated: --mode=eval."
        )


def _refuse_lost_classes(train: _Split) -> None:
    labels = sorted({train.source.label(image.index) for image in train.found.undecodable})
    lost = [train.source.class_names[i] for i in labels if not train.found.class_counts[i]]
    if lost:
        raise UserError(
            f"No training image of these classes can be decoded: {some_of(lost)}.\n"
            f"{train.listed()}Repair them, or remove the classes from every split."
        )


def _tell(splits: list[_Split]) -> None:
    for split in splits:
        if split.found.undecodable:
            keys = some_of([image.key for image in split.found.undecodable])
            told = f"{split.how_many} and are left out: {keys}. {split.cache_file} lists all."
            print(safe_text.lines(told))


def _decodable(source: Source, packed_sizes: str) -> SizedImages:
    sizes = unpacked(packed_sizes, len(source))
    left = np.flatnonzero(sizes[:, 0])  # Those of undecodable images are 0.
    if len(left) == len(source):
        return SizedImages(source, sizes)
    return SizedImages(Subset(source, left), sizes[left])
