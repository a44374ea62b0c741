"""Top-k errors and their 95% intervals."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from vgg_jax.nets.label_rank import label_rank

Z_95 = 1.959963984540054  # 95% of a normal distribution lie within this many standard deviations.


def wrong(
    posteriors: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int
) -> Bool[np.ndarray, " n"]:
    """Returns for each image whether its label is not among its k most probable classes (§4).

    If there are k classes or fewer, no image is wrong.

    Args:
      posteriors: Probabilities of the classes. `label_rank` says how ties and values that are not
        finite are ranked.
      labels: Class indices in [0, c).
      k: The number of classes that may hold the label. The paper reports 1 and 5.
    """
    return label_rank(posteriors, labels) >= k


def best(posteriors: Float[np.ndarray, " c"], k: int) -> Int[np.ndarray, " k"]:
    """Returns an image's k most probable classes, or all if there are fewer, the best first."""
    return np.argsort(-posteriors, kind="stable")[:k]  # A stable sort ranks ties like `wrong`.


def interval(num_wrong: int, num_images: int) -> tuple[float, float]:
    """Returns the 95% interval of an error in percent (Wilson 1927).

    Unlike that of the normal approximation, it stays in [0, 100], and its width isn't 0 when no
    image is wrong.
    """
    p, n = num_wrong / num_images, num_images
    centre = (p + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2)) / (1 + Z_95**2 / n)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def intervals(
    num_wrong: Int[np.ndarray, " n"], num_images: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Returns `interval` for each of several groups of images; (0, 100) for one without images."""
    return np.array(
        [
            interval(wrong, images) if images else (0.0, 100.0)
            for wrong, images in zip(num_wrong.tolist(), num_images.tolist(), strict=True)
        ]
    )


def difference_interval(
    wrong_a: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    wrong_b: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    *,
    tries: Int[np.ndarray, " n"] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95% interval of `a`'s error minus `b`'s, in percent, by a paired bootstrap.

    Images are drawn with replacement, each with its results of both `a` and `b`. Only two numbers
    of an image matter: the difference of its results, and its tries. There are few such pairs, so
    their counts, which are multinomial, are drawn instead of images.

    Args:
      wrong_a, wrong_b: Whether each image is wrong, for the same images in the same order. If `a`
        is several nets and `b` as many, the numbers of nets that are wrong.
      tries: The number of nets of `a`, and of `b`, that classified each image; None for one.
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
