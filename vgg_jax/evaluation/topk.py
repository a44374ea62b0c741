"""Top-k errors, and how sure they are."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from vgg_jax.nets.label_rank import label_rank

Z_95 = 1.959963984540054  # 95% of a normal distribution lie within so many standard deviations.


def wrong(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int
) -> Bool[np.ndarray, " n"]:
    """Tells which images' labels are not among the k most probable classes (§4).

    With k classes or fewer no image is wrong.

    Args:
      posteriors: Probabilities of the classes; see `label_rank` for ties and what isn't finite.
      labels: Indices in [0, c).
      k: The paper reports 1 and 5.
    """
    return label_rank(posteriors, labels) >= k


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

    Images are drawn anew with replacement, each with all that was made of it. Images differ in few
    ways that matter, so the counts of these kinds, which are multinomial, are drawn in place of
    images.

    Args:
      wrong_a, wrong_b: Whether each of the same images is wrong. Where several nets stand in place
        of `a` and as many in place of `b`, these are the numbers of nets that are wrong.
      tries: How many nets of `a`, and as many of `b`, each image was shown; None for one.
      resamples: How often the images are drawn.
      seed: Seed of the draws.
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
