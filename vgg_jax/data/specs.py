"""What a config says of its data, as plain values. Imports nothing that takes long."""

import dataclasses
from typing import Literal

OnUndecodable = Literal["refuse", "leave_out"]


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """Which images a run is trained and validated on: a config's data, as plain values.

    Attributes:
      name: A kind of source, by its file in `data/sources`: "folder"; "csv"; "shapes", the embedded
        set. A user's own class, MODULE:NAME. Any other name is a TFDS data set's.
      directory: The path of a folder that holds train/CLASS/ and val/CLASS/; of a CSV file; of
        what a user's own class reads; or of TFDS's data_dir, where "" means its default.
      train_split: Name of the split to train on.
      val_split: Name of the split to validate on; "" means the one that is usual for this kind of
        source.
      cache_dir: Where the embedded set is kept.
      held_out: Number of training images to validate on instead of the validation split (§3.1
        leaves this open; the paper validates on the validation split); 0 for none.
      seed: Chooses the images held out.
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
    """How sources are scanned.

    Attributes:
      cache_dir: Folder on this machine's disk that keeps the results, each under its source's
        contents_key.
      undecodable: What becomes of splits with undecodable images: see `decodable`.
      num_workers: Processes that decode; 0 decodes in threads of this process.
      progress: Whether to show a progress bar.
    """

    cache_dir: str
    undecodable: OnUndecodable = "refuse"
    num_workers: int = 0
    progress: bool = True
