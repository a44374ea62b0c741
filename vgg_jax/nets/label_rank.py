"""The rank of an image's label among the classes, which top-k errors need. Needs no JAX."""

from typing import Any

from jaxtyping import Float, Int


def label_rank(scores: Float[Any, "b k"], labels: Int[Any, " b"]) -> Int[Any, " b"]:
    """Counts the classes that rank above each image's label (§4).

    The label is among the top k if its rank is below k. If scores are equal, the lower class index
    ranks higher. If any of an image's scores is not finite, its label ranks below all k classes, so
    that a net that has diverged is not right by luck.

    Args:
      scores: Class scores or posteriors, a NumPy or JAX array.
      labels: Class indices in [0, k), an array of the same library.
    """
    xp = scores.__array_namespace__()
    own = xp.take_along_axis(scores, labels[:, None], axis=1)
    is_lower = xp.arange(scores.shape[1])[None] < labels[:, None]
    above = (scores > own) | ((scores == own) & is_lower)
    return xp.where(xp.isfinite(scores).all(axis=1), above.sum(axis=1), scores.shape[1])


def has_top5(num_classes: int) -> bool:
    """Returns whether a top-5 error says anything: with five classes or fewer it is always 0."""
    return num_classes > 5
