"""Undecoded images and labels by index: what every kind of source has."""

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
      label: Index into the source's class names; -1 where the image is unlabelled.
      key: What names it to a person: a path, or a number in its split.
    """

    image: bytes
    label: int
    key: str


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split; picklable, for the worker processes.

    Its class is a `SourceClass`.

    Attributes:
      class_names: They are in the order of the labels; none where the images are unlabelled.
      fingerprint: Hash of the index: names, labels, sizes. Runs that resume on another index are
        refused.
      contents_key: Hash of the fingerprint and of when the files were last written to, which tells
        images of equal names and sizes apart. What is kept of their contents is kept under it.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    contents_key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Reads an example; the same one for the same index, in every process.

        Raises:
          UndecodableError: This image can't be read. The scan finds it, as it does what can't be
            decoded.
          UserError: None can be read at present. This ends the run.
        """
        ...

    def label(self, index: int) -> int:
        """Returns the label alone, of an image that may not be readable."""
        ...

    def name(self, index: int) -> str:
        """Returns what names an image wherever the data set lies, which its key may not."""
        ...


@runtime_checkable
class SourceClass(Protocol):
    """A kind of source: the class of its objects, each of which is one split.

    A job of several processes opens each split in all of them, and expects the same fingerprint.

    Attributes:
      default_val_split: The split that an empty `DataSpec.val_split` means.
    """

    default_val_split: str

    def __call__(self, data: DataSpec, split: str) -> Source:
        """Opens a split by its name.

        To train, data.train_split is opened, and then the validation split, unless data.held_out
        takes images of the first. To evaluate, only the split with the images in question is.

        Raises:
          UserError: It can't be opened; the message says what to do.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some of a source's examples.

    Attributes:
      source: The whole.
      indices: Which of its examples these are, in their order here.
    """

    source: Source
    indices: Int[np.ndarray, " n"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The whole source's class names: labels don't change."""
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Hash of the source's fingerprint and of the choice."""
        return hashed(self.source.fingerprint, self._chosen)

    @property
    def contents_key(self) -> str:
        """Hash of the source's key and of the choice."""
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


def hashed(*parts: object) -> str:
    """Returns the SHA-256 of parts that make an identity."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
