"""Undecoded images and labels by index: what every kind of source has."""

import dataclasses
import hashlib
from collections.abc import Callable
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

    Attributes:
      class_names: They are in the order of the labels; none where the images are unlabelled.
      fingerprint: Hash of the index. Runs that resume on another index are refused.
      contents_key: Hash of the fingerprint and of when the files were last written to, which tells
        images of equal names and sizes apart. What is kept of their contents is kept under it.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    contents_key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def label(self, index: int) -> int:
        """Returns the label alone, of an image that may not be readable."""
        ...

    def name(self, index: int) -> str:
        """Returns what names an image wherever the data set lies, which its key may not."""
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


class SourceKind(NamedTuple):
    """What `splits` knows of a kind of source.

    Attributes:
      open_split: Opens a split, given by its name; raises a UserError where it can't.
      default_val_split: The split that an empty `DataSpec.val_split` means.
    """

    open_split: Callable[[DataSpec, str], Source]
    default_val_split: str


def hashed(*parts: object) -> str:
    """Returns the SHA-256 of parts that make an identity."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
