"""Calibration, against a loop over the bins' definition and against scikit-learn."""

import numpy as np
import pytest

from vgg_jax.evaluation import calibration, topk


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 4)).astype(np.float32)
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return values, rng.integers(0, 4, 500)


def test_bins_hold_their_upper_ends(predictions):
    values, labels = predictions
    found = calibration.reliability(values, labels, bins=10)
    error = 0.0
    for low, high, count, confidence, accuracy, interval in zip(
        found.edges[:-1], found.edges[1:], found.counts, found.confidence, found.accuracy,
        found.intervals, strict=True,
    ):  # fmt: skip
        best = values.max(axis=1)
        inside = (best > low) & (best <= high)
        assert count == inside.sum()
        if not count:
            assert np.isnan(confidence)
            assert np.isnan(accuracy)
            continue
        right = values[inside].argmax(axis=1) == labels[inside]
        assert confidence == pytest.approx(best[inside].mean())
        assert accuracy == pytest.approx(right.mean())
        expected = topk.interval(int(right.sum()), len(right))
        assert 100 * interval == pytest.approx(expected)
        error += inside.sum() / 500 * abs(right.mean() - best[inside].mean())
    assert found.expected_error == pytest.approx(error)
    assert found.counts.sum() == 500


def test_a_net_that_is_right_as_often_as_it_is_sure_has_no_error():
    values = np.repeat([[0.75, 0.25], [0.5, 0.5]], 8, axis=0)
    labels = np.array([0] * 6 + [1] * 2 + [0] * 4 + [1] * 4)
    assert calibration.reliability(values, labels).expected_error == pytest.approx(0)
    overconfident = np.repeat([[1.0, 0.0]], 10, axis=0)
    labels = np.array([0] * 6 + [1] * 4)
    assert calibration.reliability(overconfident, labels).expected_error == pytest.approx(0.4)


def test_a_confidence_that_rounding_took_above_1_is_in_the_last_bin():
    values = np.array([[1 + 1e-7, 0]], np.float32)
    assert calibration.reliability(values, np.array([0]), bins=5).counts.tolist() == [0, 0, 0, 0, 1]


def test_the_curve_is_scikit_learns(predictions):
    sklearn_calibration = pytest.importorskip("sklearn.calibration")
    values, labels = predictions
    right = values.argmax(axis=1) == labels
    accuracy, confidence = sklearn_calibration.calibration_curve(
        right, values.max(axis=1), n_bins=15
    )
    found = calibration.reliability(values, labels)
    has_images = found.counts > 0
    np.testing.assert_allclose(found.accuracy[has_images], accuracy)
    np.testing.assert_allclose(found.confidence[has_images], confidence, rtol=1e-6)
