"""The images that a net classifies worst."""

import numpy as np
from jaxtyping import Float, Int

from vgg_jax.evaluation import topk


def hardest(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], most: int
) -> Int[np.ndarray, " m"]:
    """Returns the images with the least probable labels, the least probable first.

    Args:
      posteriors: Probabilities of the classes.
      labels: Class indices in [0, c).
      most: At most how many images.
    """
    of_label = posteriors[np.arange(len(labels)), labels]
    return np.argsort(of_label, kind="stable")[:most]


def most_certain(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], most: int
) -> Int[np.ndarray, " m"]:
    """Returns the wrongly classified images of the highest confidence, the highest first.

    Args:
      posteriors, labels, most: See `hardest`.
    """
    (wrong,) = np.nonzero(topk.wrong(posteriors, labels, 1))
    return wrong[np.argsort(-posteriors[wrong].max(axis=1), kind="stable")[:most]]
