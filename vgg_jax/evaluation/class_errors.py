"""Errors by class, and the pairs of classes that a net confuses."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vgg_jax.evaluation import topk


@dataclasses.dataclass(frozen=True, eq=False)
class ClassErrors:
    """The top-k errors of the classes.

    Attributes:
      num_images: The number of images of each class.
      num_wrong: How many of them have a label that is not among their k most probable classes.
    """

    num_images: Int[np.ndarray, " c"]
    num_wrong: Int[np.ndarray, " c"]

    @property
    def errors(self) -> Float[np.ndarray, " c"]:
        """The errors in percent; NaN for a class without images."""
        shares = np.full(len(self.num_images), np.nan)
        np.divide(self.num_wrong, self.num_images, out=shares, where=self.num_images > 0)
        return 100 * shares

    @property
    def intervals(self) -> Float[np.ndarray, "c 2"]:
        """The errors' 95% intervals in percent: see `topk.intervals`."""
        return topk.intervals(self.num_wrong, self.num_images)

    def worst(self, most: int | None = None) -> Int[np.ndarray, " n"]:
        """Returns the classes that have images by falling error.

        Args:
          most: At most how many; None for all.
        """
        order = np.argsort(-self.errors, kind="stable")  # NaN comes last.
        return order[: (self.num_images > 0).sum()][:most]


class Confused(NamedTuple):
    """Two classes, one of which is taken for the other.

    Attributes:
      label, predicted: Class indices.
      count: The number of images of class `label` that are predicted to be `predicted`.
      share: That number as a share of the images of class `label`, in percent.
    """

    label: int
    predicted: int
    count: int
    share: float


def of_classes(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int = 1
) -> ClassErrors:
    """Returns the top-k error of each class (§4).

    Args:
      posteriors: Probabilities of the classes.
      labels: Class indices in [0, c).
      k: The number of classes that may hold the label, such as 1 or 5.
    """
    num_classes = posteriors.shape[1]
    wrong = topk.wrong(posteriors, labels, k)
    return ClassErrors(
        np.bincount(labels, minlength=num_classes),
        np.bincount(labels[wrong], minlength=num_classes),
    )


def confusion_matrix(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "c c"]:
    """Returns the number of images by label (row) and most probable class (column).

    If classes are equally probable, the first one counts, as in `topk`.

    Args:
      posteriors: Probabilities of the classes.
      labels: Class indices in [0, c).
    """
    num_classes = posteriors.shape[1]
    cells = labels.astype(np.int64) * num_classes + posteriors.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(matrix: Int[np.ndarray, "c c"], most: int) -> list[Confused]:
    """Returns the pairs of classes by falling number of confused images.

    Args:
      matrix: See `confusion_matrix`.
      most: At most how many pairs. Pairs without images are left out.
    """
    confused = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-confused, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return [
        Confused(int(i), int(j), int(matrix[i, j]), 100 * float(matrix[i, j] / matrix[i].sum()))
        for i, j in pairs
        if confused[i, j]
    ]


def most_confused_classes(matrix: Int[np.ndarray, "c c"], most: int) -> Int[np.ndarray, " n"]:
    """Returns the classes that most images are wrongly taken from or for, in their own order.

    Args:
      matrix: See `confusion_matrix`.
      most: At most how many classes. If there are no more than that, all are returned.
    """
    if len(matrix) <= most:
        return np.arange(len(matrix))
    confused = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-(confused.sum(axis=0) + confused.sum(axis=1)), kind="stable")
    return np.sort(order[:most])
