"""Caltech's protocol: random draws of training and test images, and the mean recall per class."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from vgg_jax.counted import counted
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.transfer import svm
from vgg_jax.transfer.svm import Problem

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC


class Draw(NamedTuple):
    """The indices of one draw's training and test images, in ascending order."""

    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


class Outcome(NamedTuple):
    """The recall of one draw, averaged over the classes, in [0, 1], and the C of its SVM."""

    mean_recall: float
    c: float


# Takes the training problem, the test images' descriptors and a seed. Returns the classes that it
# recognises in these, and its C.
Classify = Callable[[Problem, Float[np.ndarray, "m d"], int], tuple[Int[np.ndarray, " m"], float]]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How many images are drawn.

    Attributes:
      train_per_class: Training images per class, at least 2.
      test_per_class: The most test images per class. A class with fewer gives all that are left.
      draws: Number of random draws, each from all images.
      seed: The seed of the draws.
    """

    train_per_class: int = 30
    test_per_class: int = 50
    draws: int = 3
    seed: int = 0

    def check(self, labels: Int32[np.ndarray, " n"], class_names: Sequence[str]) -> None:
        """Checks that images can be drawn.

        Raises:
          UserError: A number is too small, images have no labels, there is only one class, or a
            class has too few images.
        """
        require(self.train_per_class >= 2, "--train_per_class must be 2 or above: C is chosen.")
        require(min(self.test_per_class, self.draws) >= 1,
                "--test_per_class and --draws must be 1 or above.")  # fmt: skip
        require(
            len(class_names) >= 2 and bool((labels >= 0).all()),
            "Caltech's protocol needs labelled images of two classes or more.",
        )
        counts = np.bincount(labels, minlength=len(class_names))
        few = [
            f"{name} ({count})"
            for name, count in zip(class_names, counts, strict=True)
            if count <= self.train_per_class
        ]
        if few:
            raise UserError(
                f"These classes have too few images for {self.train_per_class} training images and "
                f"one test image: {some_of(few)}. Lower --train_per_class, or remove the classes."
            )

    def num_test(self, labels: Int32[np.ndarray, " n"]) -> Int[np.ndarray, " c"]:
        """Returns how many test images each class has."""
        return np.minimum(np.bincount(labels) - self.train_per_class, self.test_per_class)

    def draw(self, labels: Int32[np.ndarray, " n"], number: int) -> Draw:
        """Draws the images of one draw. The number, from 0 on, and the seed decide which."""
        rng = np.random.default_rng([self.seed, number])
        train, test = [], []
        for label in np.unique(labels):
            order = rng.permutation(np.flatnonzero(labels == label))
            train.append(order[: self.train_per_class])
            test.append(order[self.train_per_class :][: self.test_per_class])
        return Draw(np.sort(np.concatenate(train)), np.sort(np.concatenate(test)))


def outcomes(
    values: Float[np.ndarray, "n d"],
    labels: Int32[np.ndarray, " n"],
    protocol: Protocol,
    classify: Classify,
) -> Iterator[Outcome]:
    """Trains and tests a classifier on one draw after the other.

    Args:
      values: A descriptor per image.
      labels: The images' classes, which the protocol has checked.
      protocol: How to draw.
      classify: See `Classify`; `by_svm` is one.
    """
    for number in range(protocol.draws):
        train, test = protocol.draw(labels, number)
        found, c = classify(Problem(values[train], labels[train]), values[test], protocol.seed)
        yield Outcome(mean_recall(found, labels[test]), c)


def mean_recall(found: Int[np.ndarray, " m"], labels: Int[np.ndarray, " m"]) -> float:
    """Returns the share of each class's images that were recognised, averaged over the classes.

    Args:
      found: The classes that a classifier recognised.
      labels: The true classes. Only classes that occur here count.
    """
    return float(np.mean([np.mean(found[labels == label] == label) for label in np.unique(labels)]))


def by_svm(
    train: Problem, test_values: Float[np.ndarray, "m d"], seed: int
) -> tuple[Int[np.ndarray, " m"], float]:
    """Trains a linear SVM, whose C cross-validation on the training images chooses."""

    def score(trained: "LinearSVC", fold: Problem) -> float:
        return mean_recall(trained.predict(fold.values), fold.labels)

    values, test_values = svm.in_span_of(train.values, test_values)
    train = Problem(values, train.labels)
    c = svm.choose_c([train], score, seed)
    return svm.fit(train, c).predict(test_values), c


def lines(
    values: Float[np.ndarray, "n d"], labels: Int32[np.ndarray, " n"], protocol: Protocol
) -> Iterator[str]:
    """Yields a line for each draw, then one for their mean and spread."""
    recalls = []
    for number, outcome in enumerate(outcomes(values, labels, protocol, by_svm), 1):
        recalls.append(100 * outcome.mean_recall)
        yield f"draw {number}: mean recall {recalls[-1]:.2f}% (C = {outcome.c:g})"
    spread = f", standard deviation {statistics.stdev(recalls):.2f}" if len(recalls) > 1 else ""
    draws = counted(len(recalls), "draws")
    yield f"mean recall of {draws}: {statistics.mean(recalls):.2f}%{spread}"
