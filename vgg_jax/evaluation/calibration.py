"""Calibration: whether a net is right as often as it is sure (Guo et al. 2017).

The confidence in an image is the probability of its most probable class.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from vgg_jax.evaluation import topk


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """The images in bins of equal width, by their confidence.

    Attributes:
      edges: The ends of the bins, from 0 to 1. A bin holds its upper end but not its lower one.
      counts: The number of images in each bin.
      confidence: The mean confidence of each bin's images; NaN for an empty bin.
      accuracy: The share of each bin's images that are classified rightly; NaN for an empty bin.
      intervals: The 95% interval of each accuracy (Wilson); 0 to 1 for an empty bin.
    """

    edges: Float[np.ndarray, " b1"]
    counts: Int[np.ndarray, " b"]
    confidence: Float[np.ndarray, " b"]
    accuracy: Float[np.ndarray, " b"]
    intervals: Float[np.ndarray, "b 2"]

    @property
    def expected_error(self) -> float:
        """The expected calibration error (ECE), from 0 to 1.

        It is the mean of |accuracy - confidence| over the bins, weighted with their numbers of
        images.
        """
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float(self.counts @ gaps / self.counts.sum())


def reliability(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], *, bins: int = 15
) -> Reliability:
    """Returns how often a net is right, by its confidence.

    Args:
      posteriors: Probabilities of the classes.
      labels: Class indices in [0, c).
      bins: The number of bins; Guo et al. use 15.
    """
    edges = np.linspace(0, 1, bins + 1)
    confidence = posteriors.max(axis=1).astype(np.float64)
    right = ~topk.wrong(posteriors, labels, 1)
    # Rounding can take a confidence slightly above 1, beyond the last edge.
    bin_of = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    means = [
        np.divide(
            np.bincount(bin_of, values, bins), counts, out=np.full(bins, np.nan), where=counts > 0
        )
        for values in (confidence, right.astype(np.float64))
    ]
    intervals = topk.intervals(np.bincount(bin_of[right], minlength=bins), counts) / 100
    return Reliability(edges, counts, *means, intervals)
