"""One split of ImageNet as image files, wherever their bytes lie."""

import abc
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from vgg_jax.data.source import Example, hashed


class FileSplit(abc.ABC):
    """The images of one split, by label and then by name: a `Source` but for its reading.

    Two forms with the same files have the same fingerprint, so a run can go on with the other.

    Attributes:
      class_names: See `Source`. They are the synsets, sorted.
      fingerprint, contents_key: See `Source`.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        names: np.ndarray,
        labels: Int[np.ndarray, " n"],
        sizes: Int[np.ndarray, " n"],
        modified: str,
    ) -> None:
        """Takes the images in the order of `in_order`.

        Args:
          class_names: The synsets, sorted; empty if the images are unlabelled.
          names: The names of the files, without folders, as bytes: (n,).
          labels: The index of each image's synset; -1 if the images are unlabelled.
          sizes: The size of each file in bytes.
          modified: Which split it is, where it lies and when it was last written.
        """
        self.class_names = class_names
        # Arrays, because each worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._names, self._labels = names, labels.astype(np.int32)
        digest = hashlib.sha256(" ".join(class_names).encode())
        for array in (names, self._labels.astype("<i4"), sizes.astype("<i8")):
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        self.fingerprint = digest.hexdigest()
        self.contents_key = hashed(self.fingerprint, modified)

    def __len__(self) -> int:
        return len(self._labels)

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Example:
        """See `Source`."""

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """See `Source`. It is the file's own name, such as n01440764_10026.JPEG."""
        return bytes(self._names[index]).decode("utf-8", "backslashreplace")


def labels_of(synsets: Sequence[str], class_names: tuple[str, ...]) -> Int32[np.ndarray, " n"]:
    """Returns the label of each image, given its synset, which must be among the class names."""
    label_of = {synset: label for label, synset in enumerate(class_names)}
    return np.array([label_of[synset] for synset in synsets], np.int32)


def in_order(names: np.ndarray, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns the indices that sort images by label, and by name within a label."""
    return np.lexsort((names, labels))


def doubled(names: np.ndarray) -> tuple[int, int] | None:
    """Returns the indices of two images of the same name; None if no name occurs twice."""
    unique, counts = np.unique(names, return_counts=True)
    if len(unique) == len(names):
        return None
    one, other = np.flatnonzero(names == unique[counts > 1][0])[:2]
    return int(one), int(other)
