"""The rank of an image's label among the classes, which top-k errors count. Needs no JAX."""

from typing import Any

from jaxtyping import Float, Int


def label_rank(scores: Float[Any, "b k"], labels: Int[Any, " b"]) -> Int[Any, " b"]:
    """Counts the classes ranked above each image's label (§4): it is in the top k below rank k.

    Of equal scores the lower class ranks higher. A score that is not finite ranks above the label,
    so that a net that broke is never right.

    Args:
      scores: Class scores or posteriors, an array of NumPy or JAX.
      labels: Indices in [0, k), an array of the same kind.
    """
    xp = scores.__array_namespace__()
    own = xp.take_along_axis(scores, labels[:, None], axis=1)
    is_lower = xp.arange(scores.shape[1])[None] < labels[:, None]
    above = (scores > own) | ((scores == own) & is_lower) | ~xp.isfinite(scores)
    return above.sum(axis=1)
