"""The interface of every kind of source: undecoded images and labels by index."""

import dataclasses
import hashlib
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from vgg_jax.data.specs import DataSpec


class Example(NamedTuple):
    """One undecoded image.

    Attributes:
      image: The bytes of the image file.
      label: Index into the source's class names; -1 means unlabelled.
      key: The image's name in messages: a path, or a number in its split.
    """

    image: bytes
    label: int
    key: str


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split.

    It can be pickled, for the worker processes. Its class is a `SourceClass`.

    A source that reads its images in blocks of several, such as parquet's row groups, also has
    `block_starts`: the index of the first image of each block, in ascending order. Training then
    has an order that reads few blocks for each batch: see `shuffle`. The fingerprint must depend
    on the blocks, because the order does.

    Attributes:
      class_names: Names of the classes, in the order of the labels; empty if the images are
        unlabelled.
      fingerprint: Hash of what a source knows of its images without reading them: their names,
        labels and sizes in bytes; for parquet the lengths of the row groups in place of the sizes;
        for TFDS the name of the set and the lengths of its shards alone. A run can't resume on
        images with another fingerprint.
      contents_key: Hash of the fingerprint and of the time when the files were last written. It
        distinguishes images of the same fingerprint. Scans are cached under it, and an evaluation
        reuses only posteriors of the same contents_key.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    contents_key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Reads an example. In every process an index gives the same example.

        Raises:
          UndecodableError: This image can't be read. The scan treats it like an image that can't
            be decoded.
          UserError: No image can be read at present. This ends the run.
        """
        ...

    def label(self, index: int) -> int:
        """Returns the label of an image, even if the image can't be read."""
        ...

    def name(self, index: int) -> str:
        """Returns an image's name. Unlike the key, it doesn't depend on where the data set is."""
        ...


@runtime_checkable
class SourceClass(Protocol):
    """A kind of source: a class whose objects are splits.

    All processes of a job open each split, and must get the same fingerprint.

    Attributes:
      default_val_split: Name of the validation split if `DataSpec.val_split` is empty.
    """

    default_val_split: str

    def __call__(self, data: DataSpec, split: str) -> Source:
        """Opens a split by its name.

        Training opens data.train_split and then the validation split, unless data.held_out takes
        images of the training split. Evaluation opens only the split that holds its images.

        Raises:
          UserError: The split can't be opened; the message says what to do.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some of a source's examples.

    Attributes:
      source: The whole source.
      indices: Indices of the examples in the source, in the order of this subset.
    """

    source: Source
    indices: Int[np.ndarray, " n"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the whole source, because labels don't change."""
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Hash of the source's fingerprint and of the indices."""
        return hashed(self.source.fingerprint, self._chosen)

    @property
    def contents_key(self) -> str:
        """Hash of the source's contents_key and of the indices."""
        return hashed(self.source.contents_key, self._chosen)

    @property
    def _chosen(self) -> str:
        return hashlib.sha256(self.indices.astype(np.int64).tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def label(self, index: int) -> int:
        """See `Source`."""
        return self.source.label(int(self.indices[index]))

    def name(self, index: int) -> str:
        """See `Source`."""
        return self.source.name(int(self.indices[index]))


def whole(source: Source) -> Source:
    """Returns the source that a subset, or a subset of subsets, is of; any other source itself."""
    while isinstance(source, Subset):
        source = source.source
    return source


def block_starts(source: Source) -> Int[np.ndarray, " blocks"] | None:
    """Returns the index of the first image of each block; None if a source isn't in blocks.

    Args:
      source: The source, or a subset of one, whose blocks are what is left of the whole blocks.
    """
    if not isinstance(source, Subset):
        return getattr(source, "block_starts", None)
    starts = block_starts(source.source)
    if starts is None:
        return None
    blocks = np.searchsorted(starts, source.indices, side="right")
    return np.flatnonzero(np.diff(blocks, prepend=-1))


def hashed(*parts: object) -> str:
    """Returns the SHA-256 hash of the parts as text."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
