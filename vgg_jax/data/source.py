"""Undecoded images and labels by index, and a choice of them."""

import dataclasses
import hashlib
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int


class Example(NamedTuple):
    """One undecoded image.

    Attributes:
      image: The bytes of the image file.
      label: Index into the source's class names; -1 of an unlabelled image.
      key: What names it to a person: a path, or a number in its split.
    """

    image: bytes
    label: int
    key: str


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split; picklable, for the worker processes.

    Attributes:
      class_names: By label; none where the source doesn't know the classes.
      fingerprint: Hash of the index. Runs that resume on another index are refused.
      contents_key: As the fingerprint, and with when the files were last written to, which tells
        images of equal names and sizes apart: for what is kept of their contents.
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
    """Some of a source's examples."""

    source: Source
    indices: Int[np.ndarray, " n"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The whole source's: labels don't change."""
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Hash of the source's and of the choice."""
        return hashed(self.source.fingerprint, self._chosen)

    @property
    def contents_key(self) -> str:
        """Likewise."""
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
