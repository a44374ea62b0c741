"""Top-k errors, and how sure they are."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

Z_95 = 1.959963984540054  # Of the normal distribution, 95% lie within.


def wrong(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int
) -> Bool[np.ndarray, " n"]:
    """Tells of which images the label is not among the k most probable classes (§4).

    Of equal posteriors the lower class counts as the more probable. With k classes or fewer no
    image is wrong.

    Args:
      posteriors: Finite.
      labels: In [0, c).
      k: 1 and 5 in the paper.
    """
    own = np.take_along_axis(posteriors, labels[:, None], axis=1)
    lower = np.arange(posteriors.shape[1]) < labels[:, None]
    rank = ((posteriors > own) | ((posteriors == own) & lower)).sum(axis=1)
    return rank >= k


def best(posteriors: Float[np.ndarray, " c"], k: int) -> Int[np.ndarray, " k"]:
    """Returns an image's k most probable classes, or all where there are fewer, the best first."""
    return np.argsort(-posteriors, kind="stable")[:k]  # Stable: ties as in `wrong`.


def interval(num_wrong: int, num_images: int) -> tuple[float, float]:
    """Returns the 95% interval of an error in percent (Wilson 1927).

    Unlike the normal approximation it stays in [0, 100], and has a width at no errors.
    """
    p, n = num_wrong / num_images, num_images
    centre = (p + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2)) / (1 + Z_95**2 / n)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def difference_interval(
    wrong_a: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    wrong_b: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    *,
    tries: Int[np.ndarray, " n"] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95% interval of the error of `a` less that of `b`, in percent: paired bootstrap.

    Images are drawn anew with replacement, each with all that was made of it. Few kinds of image
    differ in what matters, so that their counts, which are multinomial, are drawn in place of
    images.

    Args:
      wrong_a, wrong_b: Of the same images, whether each is wrong; or of several nets in place of
        `a` and as many of `b`, how many of them are wrong.
      tries: How many nets each image was shown, of `a` and of `b` alike; None for one.
      resamples: How often they are drawn.
      seed: Of the draws.
    """
    n = len(wrong_a)
    shown = np.ones(n, np.int64) if tries is None else tries
    kinds, counts = np.unique(
        np.stack([wrong_a.astype(np.int64) - wrong_b, shown]), axis=1, return_counts=True
    )
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, resamples)
    less, total = (drawn @ kinds.T).T
    low, high = np.percentile(100 * less / total, [2.5, 97.5])
    return float(low), float(high)
