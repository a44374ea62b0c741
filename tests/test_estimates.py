"""Means over seeds and their uncertainties, against independent resampling."""

import numpy as np
import pytest

from launch.report import estimates
from launch.report.estimates import Estimate, Seen


def _seen(names, wrong):
    return Seen(tuple(names), np.zeros(len(names), np.int32), {1: wrong})


def _bootstrap(clusters, resamples=4000):
    """Returns the interval by plain resampling of images: (difference, number of seeds) each."""
    rng = np.random.default_rng(1)
    values = np.array(clusters)
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))].sum(axis=1)
    return np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])


def test_images_are_drawn_with_what_all_seeds_made_of_them():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.3  # Agreement between seeds widens the interval.
    pairs = [
        (
            _seen(range(400), hard & (rng.random(400) < 0.9)),
            _seen(range(400), rng.random(400) < 0.2),
        )
        for _ in range(3)
    ]
    less = sum(a.wrong[1].astype(int) - b.wrong[1] for a, b in pairs)
    expected = _bootstrap([(d, 3) for d in less])
    found = estimates.difference(pairs, 1)
    assert found.interval == pytest.approx(expected, abs=0.4)
    assert found.mean == pytest.approx(100 * less.mean() / 3)
    alone = estimates.difference(pairs[:1], 1)
    assert np.ptp(alone.interval) < 3**0.5 * np.ptp(found.interval) * 0.95


def test_an_image_that_two_seeds_hold_out_is_drawn_for_both():
    rng = np.random.default_rng(0)
    of_seeds = [range(300), range(150, 450)]
    wrong = [[rng.random(300) < p for p in (0.4, 0.3)] for _ in of_seeds]
    pairs = [
        (_seen(names, a), _seen(names, b)) for names, (a, b) in zip(of_seeds, wrong, strict=True)
    ]
    images = {}
    for names, (a, b) in zip(of_seeds, wrong, strict=True):
        for name, less in zip(names, a.astype(int) - b, strict=True):
            so_far = images.get(name, (0, 0))
            images[name] = (so_far[0] + less, so_far[1] + 1)
    found = estimates.difference(pairs, 1)
    assert found.interval == pytest.approx(_bootstrap(list(images.values())), abs=0.5)


@pytest.mark.parametrize(
    ("estimate", "seeds", "texts"),
    [
        (None, 3, ()),
        (Estimate(1.0, 1, (0.5, 1.5), None), 1, ("(+0.50 to +1.50)",)),
        (Estimate(1.0, 1, (-0.001, 1.5), None), 3, ("(0.00 to +1.50)", "1 of 3 seeds")),
        (Estimate(1.0, 2, None, 0.125), 2, ("± 0.12",)),
        (Estimate(1.0, 2, (-1, 3), 0.126), 3, ("(-1.00 to +3.00)", "± 0.13", "2 of 3 seeds")),
    ],
)
def test_what_stands_beside_a_mean(estimate, seeds, texts):
    assert estimates.uncertainty(estimate, seeds, signed=True) == texts
