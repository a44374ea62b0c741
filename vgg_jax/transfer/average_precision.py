"""Average precision, in the two definitions of PASCAL VOC."""

import numpy as np
from jaxtyping import Bool, Float, Int


def eleven_point(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Averages the best precision at a recall of at least 0, 0.1, ..., 1 (VOC up to 2009).

    Args:
      scores: The score of each image. Images of equal scores count in their order.
      positive: Whether each image shows the class; at least one does.

    Returns:
      The average precision, in [0, 1].
    """
    hits, precision = _hits_and_precision(scores, positive)
    # Recall is compared in whole numbers: 3 / 10 as a float is less than 3 * 0.1.
    best = [precision[10 * hits >= tenths * hits[-1]].max() for tenths in range(11)]
    return float(np.mean(best))


def area(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Computes the area below the curve of the best precision at each recall (VOC since 2010).

    Args:
      scores, positive: See `eleven_point`.

    Returns:
      The average precision, in [0, 1].
    """
    hits, precision = _hits_and_precision(scores, positive)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[np.diff(hits, prepend=0) > 0].mean())


def _hits_and_precision(
    scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns the number of positives, and their share, among the first 1, 2, ... n images."""
    hits = np.cumsum(positive[np.argsort(-scores, kind="stable")])
    return hits, hits / np.arange(1, len(hits) + 1)
