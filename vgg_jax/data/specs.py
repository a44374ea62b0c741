"""The keys of a config about its data, as plain values. This module imports nothing slow."""

import dataclasses
from typing import Literal

OnUndecodable = Literal["refuse", "leave_out"]

IMAGENET = "imagenet"


def canonical_name(name: str) -> str:
    """Returns a data.name; for imagenet2012, the name in earlier versions, it is "imagenet"."""
    return IMAGENET if name == "imagenet2012" else name


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """The images that a run is trained and validated on: a config's data, as plain values.

    Attributes:
      name: The kind of source: a file in `data/sources`, which is "imagenet", "folder", "csv" or
        "shapes" (the embedded set), or a user's own class, MODULE:NAME. Any other name is a TFDS
        data set.
      directory: The path of the folder with ImageNet, of that with train/CLASS/ and val/CLASS/, of
        the CSV file, or of the data that a user's own class reads; or TFDS's data_dir, for which ""
        means TFDS's default.
      train_split: Name of the split to train on.
      val_split: Name of the split to validate on; "" means the default of this kind of source.
      cache_dir: The folder that holds the embedded set, and where archives have their images.
      held_out: Number of training images to validate on instead of the validation split (§3.1
        leaves this open; the paper validates on the validation split); 0 means none.
      seed: The seed of the choice of these images.
    """

    name: str
    directory: str
    train_split: str
    val_split: str
    cache_dir: str
    held_out: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class ScanOptions:
    """Options for scanning a source.

    Attributes:
      cache_dir: Folder on this machine's disk that keeps the results, each under its source's
        contents_key.
      undecodable: Whether undecodable images are an error ("refuse") or are left out ("leave_out").
      num_workers: Worker processes that decode; 0 means threads of this process, and -1 as many
        as are worth it: see `workers`.
      progress: Whether to show a progress bar.
      undecodable_flag: The flag that sets `undecodable`, for messages.
    """

    cache_dir: str
    undecodable: OnUndecodable = "refuse"
    num_workers: int = 0
    progress: bool = True
    undecodable_flag: str = "--config.data.undecodable"
