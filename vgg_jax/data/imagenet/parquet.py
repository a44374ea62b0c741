"""Images in the Hub's parquet shards: ImageNet's, and those of other sets of image and label."""

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Int

from vgg_jax.data.imagenet import classes, parquet_classes, parquet_shards
from vgg_jax.data.imagenet.parquet_groups import RowGroups
from vgg_jax.data.imagenet.parquet_shards import Shard
from vgg_jax.data.source import Example, hashed
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, require
from vgg_jax.storage import files


class ParquetSource:
    """The shards SPLIT-00000-of-00294.parquet and so on, in a folder or its subfolder data.

    An image costs the reading of its row group, so training has an order of its own for such
    sources: see `shuffle`. The fingerprint has no sizes of images, which can't be had without
    reading them, but the lengths of the row groups, on which the order depends.

    Attributes:
      block_starts: The index of the first image of each row group, in ascending order.
    """

    default_val_split = "validation"

    def __init__(self, data: DataSpec, split: str) -> None:
        shards = [parquet_shards.read(path) for path in parquet_shards.find(data.directory, split)]
        self._labels = np.concatenate([shard.labels for shard in shards])
        require(
            len(self._labels) > 0,
            f"The shards of {split!r} in {files.printable(shards[0].path.parent)} hold no images.",
        )
        self._groups = RowGroups(shards)
        self.block_starts = self._groups.starts
        paths = _joined_paths(shards)
        self.class_names, paths = self._classes(shards, paths)
        names = [path or f"{split}[{index}]" for index, path in enumerate(paths.to_pylist())]
        # Arrays, because each worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._names = np.array([name.encode() for name in names])
        digest = hashlib.sha256("\n".join(["parquet", *names]).encode())
        digest.update(self._labels.astype("<i8").tobytes())
        digest.update(self.block_starts.astype("<i8").tobytes())
        self.fingerprint = digest.hexdigest()
        written = [(shard.path.name, shard.size, shard.modified_ns) for shard in shards]
        self.contents_key = hashed(self.fingerprint, written)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        key = f"{self._groups.key(index)} {self.name(index)}"
        return Example(self._groups.image(index, key), self.label(index), key)

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """See `Source`. It is image.path; for ILSVRC, the file's name in its other forms."""
        return bytes(self._names[index]).decode()

    def _classes(self, shards: list[Shard], paths: Any) -> tuple[tuple[str, ...], Any]:
        """Returns the names of the classes, and the paths as the images' names have them."""
        labelled = self._labels >= 0
        if (self._labels == -1).all():
            return (), paths
        names = _listed(shards)
        if parquet_classes.are_ilsvrc(names, paths.filter(labelled)):
            names = classes.synsets()
            self._refuse(
                parquet_classes.contradicting(paths, self._labels),
                paths,
                "but its name has the synset of another class",
            )
            paths = parquet_classes.without_synsets(paths)
        if names is None:
            raise UserError(
                f"{files.printable(shards[0].path)} doesn't name its classes: the metadata of its "
                "schema have no key huggingface with a ClassLabel. Write it with the Hub's "
                "package datasets."
            )
        outside = (self._labels < -1) | (self._labels >= len(names))
        self._refuse(np.flatnonzero(outside), paths, f"but there are {len(names):,} classes")
        return names, paths

    def _refuse(self, indices: Int[np.ndarray, " m"], paths: Any, wrong: str) -> None:
        if len(indices):
            first = int(indices[0])
            raise UserError(
                f"{self._groups.key(first)} {paths[first].as_py()} has the label "
                f"{self._labels[first]}, {wrong}. {len(indices):,} of {len(self):,} images have "
                "such labels. Correct them, or download the shards again."
            )


def _listed(shards: list[Shard]) -> tuple[str, ...] | None:
    """Returns the class names in the shards' metadata, or None.

    Raises:
      UserError: Two shards have different ones.
    """
    by_metadata = {shard.metadata.get(b"huggingface"): shard for shard in reversed(shards)}
    by_names = {parquet_classes.listed(one.metadata): one for one in by_metadata.values()}
    require(
        len(by_names) == 1,
        f"The shards {' and '.join(files.printable(one.path) for one in by_names.values())} name "
        "different classes. Download the shards of one set.",
    )
    return next(iter(by_names))


def _joined_paths(shards: list[Shard]) -> Any:
    import pyarrow as pa

    return pa.concat_arrays([shard.paths.cast(pa.string()) for shard in shards])
