"""Linear SVMs by scikit-learn, and the choice of their C by cross-validation."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vgg_jax.errors import require

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

CANDIDATES = (0.1, 1.0, 10.0, 100.0)  # The values of C to choose from.
NUM_FOLDS = 3


class Problem(NamedTuple):
    """Descriptors to train an SVM on.

    Attributes:
      values: A descriptor per image.
      labels: The class of each image, as any whole number.
    """

    values: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]

    def part(self, chosen: np.ndarray) -> "Problem":
        """Returns the problem of some images, given as indices or as a mask."""
        return Problem(self.values[chosen], self.labels[chosen])


Score = Callable[["LinearSVC", Problem], float]


def require_scikit_learn() -> None:
    """Checks that scikit-learn is installed.

    Raises:
      UserError: It isn't installed.
    """
    require(
        importlib.util.find_spec("sklearn") is not None,
        "--svm needs scikit-learn, which isn't installed: pip install -e '.[svm]'.",
    )


def fit(problem: Problem, c: float) -> "LinearSVC":
    """Trains a linear SVM, one against the rest if there are several classes.

    Args:
      problem: Descriptors of two classes or more.
      c: The weight C of the squared hinge loss, above 0.
    """
    from sklearn.svm import LinearSVC

    # The dual problem takes as long for C = 1, twice as long for 10 and ever longer above.
    return LinearSVC(C=c, dual=False, random_state=0).fit(*problem)


def in_span_of(
    train: Float[np.ndarray, "n d"], others: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
    """Expresses descriptors in an orthonormal basis of the space that training descriptors span.

    An SVM's weights lie in that space, so that its decisions stay the same. Training takes less
    time where images are fewer than values.

    Args:
      train: The training descriptors.
      others: Descriptors to test on.
    """
    if len(train) >= train.shape[1]:
        return train, others
    basis, _ = np.linalg.qr(train.T.astype(np.float64))
    return train @ basis, others @ basis


def choose_c(problems: Sequence[Problem], score: Score, seed: int) -> float:
    """Chooses the C with the best average score in cross-validation.

    Each problem is divided into `NUM_FOLDS` folds, and in each fold every class has as many images
    as in the others, or one more. Only these descriptors are used, so test images have no part in
    the choice.

    Args:
      problems: The problems that are to share one C. Each class has two images or more.
      score: Takes an SVM and a fold that it wasn't trained on. Higher is better.
      seed: The seed of the folds.

    Returns:
      One of `CANDIDATES`; the least if several are best.
    """
    divided = [(problem, _folds(problem.labels, seed)) for problem in problems]

    def average(c: float) -> float:
        scores = [
            score(fit(problem.part(folds != fold), c), problem.part(folds == fold))
            for problem, folds in divided
            for fold in range(folds.max() + 1)
        ]
        return float(np.mean(scores))

    return max(CANDIDATES, key=average)  # `max` returns the first of equal ones.


def _folds(labels: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Draws the fold of each image. No class has fewer images than there are folds."""
    rng = np.random.default_rng(seed)
    _, counts = np.unique(labels, return_counts=True)
    num_folds = min(NUM_FOLDS, int(counts.min()))
    folds = np.zeros(len(labels), int)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        folds[rng.permutation(of_class)] = np.arange(len(of_class)) % num_folds
    return folds
