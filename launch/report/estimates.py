"""Errors and differences over seeds, as numbers and as text."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from vgg_jax.evaluation import topk


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimate of an error, or of the difference of two errors, in percent.

    Attributes:
      mean: The mean over the seeds.
      seeds: How many seeds there are.
      interval: The 95% interval over images: Wilson's for one seed's error, a paired bootstrap's
        for a difference; None for an error over several seeds.
      spread: The sample standard deviation over the seeds; None for one seed.
    """

    mean: float
    seeds: int
    interval: tuple[float, float] | None
    spread: float | None

    @property
    def range(self) -> tuple[float, float]:
        """The ends of a plot's bar: the interval, or else the mean minus and plus the spread."""
        return self.interval or (self.mean - self.spread, self.mean + self.spread)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """Which images of a split one seed's nets get wrong, for one result.

    Attributes:
      names, labels: The name and the class index of each image.
      wrong: Whether each image's label is missing from the top k classes, by k.
    """

    names: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    wrong: Mapping[int, Bool[np.ndarray, " n"]]


def error(of_seeds: Sequence[Seen], k: int) -> Estimate | None:
    """Returns the top-k error of a result over its seeds; None without seeds."""
    if not of_seeds:
        return None
    wrong = [seen.wrong[k] for seen in of_seeds]
    errors = [100 * float(of_seed.mean()) for of_seed in wrong]
    alone = len(wrong) == 1
    interval = topk.interval(int(wrong[0].sum()), len(wrong[0])) if alone else None
    return Estimate(float(np.mean(errors)), len(errors), interval, _spread(errors))


def difference(of_seeds: Sequence[tuple[Seen, Seen]], k: int) -> Estimate | None:
    """Returns the top-k error of a result less that of another; None without seeds.

    The bootstrap draws images, each together with the outcomes of all seeds, so the interval
    doesn't show how another training would differ. If each seed holds out images of its own, an
    image counts once for each seed that holds it out.

    Args:
      of_seeds: For each seed, the outcomes of both results on the same images.
      k: 1 or 5.
    """
    if not of_seeds:
        return None
    differences = [100 * float(a.wrong[k].mean() - b.wrong[k].mean()) for a, b in of_seeds]
    places = _places([a for a, _ in of_seeds])
    wrong_a, wrong_b = (
        np.bincount(places, np.concatenate([pair[side].wrong[k] for pair in of_seeds]))
        for side in (0, 1)
    )
    interval = topk.difference_interval(
        wrong_a.astype(np.int64), wrong_b.astype(np.int64), tries=np.bincount(places)
    )
    return Estimate(float(np.mean(differences)), len(differences), interval, _spread(differences))


def _places(of_seeds: Sequence[Seen]) -> Int[np.ndarray, " m"]:
    """Returns a number for each image of each seed; the same image always has the same number."""
    first, *others = of_seeds
    if all(seen.names == first.names for seen in others):
        return np.tile(np.arange(len(first.names)), len(of_seeds))
    # Images of different classes may have the same file name.
    images = [image for seen in of_seeds for image in zip(seen.names, seen.labels, strict=True)]
    numbers = {image: number for number, image in enumerate(dict.fromkeys(images))}
    return np.array([numbers[image] for image in images])


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def number(value: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """Returns a percentage as text: "" for None, and never a negative zero."""
    if value is None:
        return ""
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def uncertainty(estimate: Estimate | None, seeds: int, *, signed: bool) -> tuple[str, ...]:
    """Returns the texts beside a mean, such as "(29.21 to 30.01)", "± 0.12" or "2 of 3 seeds".

    Args:
      estimate: The estimate; None has no texts.
      seeds: How many seeds there should be. The estimate's seeds are shown if they are fewer.
      signed: Whether positive bounds are written with a plus sign.
    """
    texts = []
    if estimate and estimate.interval:
        low, high = (number(bound, signed=signed) for bound in estimate.interval)
        texts.append(f"({low} to {high})")
    if estimate and estimate.spread is not None:
        texts.append(f"± {number(estimate.spread)}")
    if estimate and estimate.seeds < seeds:
        texts.append(f"{estimate.seeds} of {seeds} seeds")
    return tuple(texts)
