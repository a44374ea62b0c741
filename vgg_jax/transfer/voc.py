"""VOC's protocol: an SVM for each class against the rest, and their average precision."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int8

from vgg_jax.errors import UserError, some_of
from vgg_jax.transfer import average_precision, svm
from vgg_jax.transfer.svm import Problem

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC


class Targets(NamedTuple):
    """The labels of VOC's images, in the order of their descriptors.

    Attributes:
      class_names: The name of each class.
      values: 1 for each class that an image shows, -1 for each that it doesn't show, and 0 for one
        that is difficult to see. Images of 0 count neither in the training nor in the test of the
        class.
      is_test: Whether each image is a test image.
    """

    class_names: tuple[str, ...]
    values: Int8[np.ndarray, "n k"]
    is_test: Bool[np.ndarray, " n"]

    def check(self) -> None:
        """Checks that each class can be trained and tested.

        Raises:
          UserError: A class has fewer than two training images that show it or don't, or no test
            image that shows it.
        """
        train, test = self.values[~self.is_test], self.values[self.is_test]
        enough = ((train == 1).sum(0) >= 2) & ((train == -1).sum(0) >= 2) & (test == 1).any(0)
        few = [name for name, is_enough in zip(self.class_names, enough, strict=True)
               if not is_enough]  # fmt: skip
        if few:
            raise UserError(
                "These classes need two training images that show them, two that don't, and a test "
                f"image that shows them: {some_of(few)}. Remove their files from ImageSets/Main."
            )


class Precisions(NamedTuple):
    """The average precisions of the classes, in [0, 1], and the C that their SVMs share."""

    eleven_point: Float[np.ndarray, " k"]
    area: Float[np.ndarray, " k"]
    c: float


def precisions(values: Float[np.ndarray, "n d"], targets: Targets, seed: int) -> Precisions:
    """Trains and tests an SVM for each class.

    All classes share one C, which cross-validation on the training images chooses by the mean of
    `average_precision.area`.

    Args:
      values: A descriptor per image.
      targets: The labels, which have passed their `check`.
      seed: The seed of the cross-validation's folds.
    """
    train = [
        Problem(values[chosen], of_class[chosen].astype(int))
        for of_class in targets.values.T
        for chosen in [~targets.is_test & (of_class != 0)]
    ]
    c = svm.choose_c(train, _area, seed)
    eleven_point, area = [], []
    for problem, of_class in zip(train, targets.values.T, strict=True):
        chosen = targets.is_test & (of_class != 0)
        scores = svm.fit(problem, c).decision_function(values[chosen])
        eleven_point.append(average_precision.eleven_point(scores, of_class[chosen] == 1))
        area.append(average_precision.area(scores, of_class[chosen] == 1))
    return Precisions(np.array(eleven_point), np.array(area), c)


def _area(trained: "LinearSVC", fold: Problem) -> float:
    return average_precision.area(trained.decision_function(fold.values), fold.labels == 1)


def lines(values: Float[np.ndarray, "n d"], targets: Targets, seed: int) -> Iterator[str]:
    """Yields a line for each class, then one for the means, all in percent."""
    found = precisions(values, targets, seed)
    for name, eleven_point, area in zip(targets.class_names, *found[:2], strict=True):
        yield f"{name}: AP {100 * eleven_point:.2f} (11 points), {100 * area:.2f} (area)"
    yield (
        f"mean AP of {len(targets.class_names)} classes: {100 * found.eleven_point.mean():.2f} "
        f"(11 points, as in VOC-07), {100 * found.area.mean():.2f} (area, as since VOC-10); "
        f"C = {found.c:g}"
    )
