"""Errors and differences over seeds, as numbers and as text."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from vgg_jax.evaluation import topk


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An error, or an error less another, in percent.

    Attributes:
      mean: The mean over the seeds.
      seeds: How many seeds there are.
      interval: The 95% interval over images: Wilson's for one seed's error, a paired bootstrap's
        for a difference; None for the errors of several seeds.
      spread: The sample standard deviation over the seeds; None for one seed.
    """

    mean: float
    seeds: int
    interval: tuple[float, float] | None
    spread: float | None

    @property
    def range(self) -> tuple[float, float]:
        """What a plot draws as a bar: the interval, or else the spread to both sides."""
        return self.interval or (self.mean - self.spread, self.mean + self.spread)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What the nets of one seed made of a split.

    Attributes:
      names, labels: The images' names and classes.
      wrong: Whether each image is wrong, by k.
    """

    names: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    wrong: Mapping[int, Bool[np.ndarray, " n"]]


def over_seeds(of_seeds: Sequence[tuple[float, tuple[float, float]]]) -> Estimate | None:
    """Returns the mean of errors in percent, each given with its interval; None without errors."""
    if not of_seeds:
        return None
    errors = [error for error, _ in of_seeds]
    interval = of_seeds[0][1] if len(of_seeds) == 1 else None
    return Estimate(float(np.mean(errors)), len(errors), interval, _spread(errors))


def error(of_seeds: Sequence[Seen], k: int) -> Estimate | None:
    """Returns the top-k error of a result; None without seeds."""
    return over_seeds(
        [
            (100 * float(wrong.mean()), topk.interval(int(wrong.sum()), len(wrong)))
            for wrong in (seen.wrong[k] for seen in of_seeds)
        ]
    )


def difference(of_seeds: Sequence[tuple[Seen, Seen]], k: int) -> Estimate | None:
    """Returns the top-k error of a result less that of another; None without seeds.

    The interval draws images, each with what all seeds made of it, and so says nothing of how
    another training would differ. Where seeds hold out images of their own, an image counts as
    often as there are seeds that hold it out.

    Args:
      of_seeds: What both nets of each seed made of the same images.
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
    """Numbers the images of all seeds, the same one with the same number."""
    first, *others = of_seeds
    if all(seen.names == first.names for seen in others):
        return np.tile(np.arange(len(first.names)), len(of_seeds))
    # File names may recur in other classes.
    images = [image for seen in of_seeds for image in zip(seen.names, seen.labels, strict=True)]
    numbers = {image: number for number, image in enumerate(dict.fromkeys(images))}
    return np.array([numbers[image] for image in images])


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def number(value: float | None, *, digits: int = 2, signed: bool = False) -> str:
    """Writes a number of percent; None as nothing, and no zero with a minus."""
    if value is None:
        return ""
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def uncertainty(estimate: Estimate | None, seeds: int, *, signed: bool = False) -> tuple[str, ...]:
    """Writes what stands beside a mean: "(29.21 to 30.01)", "± 0.12", "2 of 3 seeds".

    Args:
      estimate: None gives nothing.
      seeds: How many there should be; fewer are counted.
      signed: Whether the bounds have a plus.
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
