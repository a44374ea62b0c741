"""Top-k errors and their intervals, against values by hand, published values and resampling."""

import numpy as np
import pytest

from vgg_jax.evaluation import topk

RANKED = [0.30, 0.25, 0.20, 0.10, 0.08, 0.07]
TIED = [0.10, 0.30, 0.30, 0.10, 0.10, 0.10]  # The classes rank 1, 2, 0, 3, 4, 5.


@pytest.mark.parametrize(
    ("values", "k", "wrong_labels"),
    [
        (RANKED, 1, {1, 2, 3, 4, 5}),
        (RANKED, 2, {2, 3, 4, 5}),
        (RANKED, 5, {5}),
        (RANKED[::-1], 5, {0}),
        (RANKED, 6, set()),
        (TIED, 1, {0, 2, 3, 4, 5}),
        (TIED, 2, {0, 3, 4, 5}),
        (TIED, 3, {3, 4, 5}),
        (TIED, 5, {5}),
        ([0.25] * 4, 1, {1, 2, 3}),
        ([0.25] * 4, 5, set()),
        ([0.2] * 5, 5, set()),
        ([0.6, 0.4], 1, {1}),
        ([0.6, 0.4], 5, set()),
    ],
)
def test_which_labels_are_wrong(values, k, wrong_labels):
    labels = np.arange(len(values))
    wrong = topk.wrong(np.tile(np.array(values), (len(values), 1)), labels, k)
    assert set(labels[wrong].tolist()) == wrong_labels


@pytest.mark.parametrize("k", [1, 3, 5])
def test_wrong_is_not_among_the_first_of_a_stable_sorting(k):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (500, 8)).astype(np.float32)  # Full of ties.
    labels = rng.integers(0, 8, 500)
    first = np.argsort(-values, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(topk.wrong(values, labels, k), (first != labels[:, None]).all(1))


@pytest.mark.parametrize(
    ("num_wrong", "num_images", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
        # By hand: with none wrong, the high end is z^2 / (n + z^2) = 3.8415 / 13.8415; with half
        # wrong, the ends are z / (2 sqrt(n + z^2)) from a half.
        (0, 10, 0.00, 27.75),
        (10, 10, 72.25, 100.00),
        (5, 10, 23.66, 76.34),
    ],
)
def test_wilsons_interval(num_wrong, num_images, low, high):
    assert topk.interval(num_wrong, num_images) == pytest.approx((low, high), abs=0.005)


@pytest.mark.parametrize("num_images", [1, 2, 3, 7, 100, 50_000])
def test_an_interval_holds_its_error_and_stays_in_0_to_100(num_images):
    for num_wrong in {0, 1, num_images // 3, num_images - 1, num_images}:
        low, high = topk.interval(num_wrong, num_images)
        # At 0 and 100 the bound is the error itself, except for rounding.
        assert 0 <= low <= 100 * num_wrong / num_images + 1e-9
        assert 100 * num_wrong / num_images - 1e-9 <= high <= 100
        other_low, other_high = topk.interval(num_images - num_wrong, num_images)
        assert (100 - other_high, 100 - other_low) == pytest.approx((low, high), abs=1e-9)


# Differences.


def _pair(n, only_a, only_b, both):
    """Returns which of n images two nets get wrong, in shuffled order."""
    a, b = np.zeros((2, n), bool)
    a[: only_a + both] = True
    b[only_a : only_a + both + only_b] = True
    order = np.random.default_rng(7).permutation(n)
    return a[order], b[order]


@pytest.mark.parametrize(("n", "both"), [(1, 0), (1, 1), (50, 0), (50, 20), (50, 50)])
def test_equal_predictions_do_not_differ(n, both):
    assert topk.difference_interval(*_pair(n, 0, 0, both)) == (0, 0)


@pytest.mark.parametrize(
    ("n", "only_a", "only_b", "both"),
    [(400, 60, 40, 100), (400, 0, 30, 0), (1000, 20, 25, 500), (150, 75, 75, 0)],
)
def test_the_interval_is_that_of_resampled_images(n, only_a, only_b, both):
    a, b = _pair(n, only_a, only_b, both)
    resamples = 10_000
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, n, (resamples, n), np.int16)
    differences = 100 * (a.astype(np.int8) - b)[drawn].sum(axis=1, dtype=np.int32) / n
    expected = np.percentile(differences, [2.5, 97.5])
    # The standard error of such a quantile is sqrt(0.025 * 0.975 / resamples) over the density
    # there, 0.0584 / deviation. The tolerance is four standard errors of the difference of two
    # quantiles, and one step of the lattice.
    tolerance = 4 * np.sqrt(2 * 0.025 * 0.975 / resamples) / 0.0584 * differences.std() + 100 / n
    assert topk.difference_interval(a, b) == pytest.approx(expected, abs=tolerance)


def test_the_difference_is_of_the_first_less_the_second():
    a, b = _pair(500, 100, 20, 50)
    low, high = topk.difference_interval(a, b)
    assert 0 < low < 16 < high
    low, high = topk.difference_interval(b, a)
    assert low < -16 < high < 0


def test_one_who_is_always_wrong_differs_by_100():
    every, none = np.ones(30, bool), np.zeros(30, bool)
    assert topk.difference_interval(every, none) == (100, 100)
    assert topk.difference_interval(none, every) == (-100, -100)


def test_an_interval_is_the_same_each_time():
    a, b = _pair(3000, 300, 250, 800)
    assert topk.difference_interval(a, b) == topk.difference_interval(a, b)
    others = {topk.difference_interval(a, b, resamples=100, seed=seed) for seed in range(5)}
    assert len(others) > 1


def test_no_rounding_of_the_parts_stops_the_draws():
    for n in range(1, 300):
        low, high = topk.difference_interval(*_pair(n, n // 3, n - n // 3, 0), resamples=2)
        assert -100 <= low <= high <= 100


# Several nets instead of one.


def test_nets_that_all_say_the_same_count_as_one():
    a, b = _pair(600, 90, 60, 100)
    of_three = topk.difference_interval(3 * a, 3 * b, tries=np.full(600, 3))
    assert of_three == pytest.approx(topk.difference_interval(a, b), abs=1e-9)


def test_images_that_more_nets_saw_weigh_more():
    rng = np.random.default_rng(3)
    tries = rng.integers(1, 4, 500)
    a, b = rng.binomial(tries, 0.5), rng.binomial(tries, 0.4)
    drawn = rng.integers(0, 500, (10_000, 500))
    expected = np.percentile(
        100 * (a - b)[drawn].sum(axis=1) / tries[drawn].sum(axis=1), [2.5, 97.5]
    )
    assert topk.difference_interval(a, b, tries=tries) == pytest.approx(expected, abs=0.4)
