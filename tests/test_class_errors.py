"""Errors by class, confusion, and the images that a net gets wrong."""

import numpy as np
import pytest

from vgg_jax.evaluation import class_errors, topk, wrong_images


@pytest.fixture(scope="module")
def predictions():
    """Posteriors of 300 images of 7 classes, with ties, and labels, none of which is 3."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (300, 7)) / 1.0
    labels = rng.choice([0, 1, 2, 4, 5, 6], 300)
    values[np.arange(300), labels] += rng.integers(0, 4, 300)
    return values / values.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("k", [1, 5])
def test_errors_by_class_are_those_of_its_images_alone(predictions, k):
    values, labels = predictions
    found = class_errors.of_classes(values, labels, k)
    for label in range(7):
        of_class = labels == label
        wrong = topk.wrong(values[of_class], labels[of_class], k)
        assert (found.num_images[label], found.num_wrong[label]) == (of_class.sum(), wrong.sum())
        if label == 3:
            assert np.isnan(found.errors[label])
            assert found.intervals[label].tolist() == [0, 100]
        else:
            assert found.errors[label] == pytest.approx(100 * wrong.mean())
            expected = topk.interval(int(wrong.sum()), len(wrong))
            assert tuple(found.intervals[label]) == pytest.approx(expected)


def test_the_worst_classes_come_first_and_those_without_images_not_at_all(predictions):
    found = class_errors.of_classes(*predictions)
    worst = found.worst()
    assert sorted(worst) == [0, 1, 2, 4, 5, 6]
    assert (np.diff(found.errors[worst]) <= 0).all()
    assert found.worst(2).tolist() == worst[:2].tolist()


def test_a_confusion_matrix_counts_labels_by_the_best_class(predictions):
    values, labels = predictions
    expected = np.zeros((7, 7), int)
    for value, label in zip(values, labels, strict=True):
        expected[label, topk.best(value, 1)[0]] += 1
    found = class_errors.confusion_matrix(values, labels)
    np.testing.assert_array_equal(found, expected)
    wrong = class_errors.of_classes(values, labels).num_wrong
    np.testing.assert_array_equal(found.sum(axis=1) - np.diag(found), wrong)


def test_a_confusion_matrix_is_scikit_learns(predictions):
    metrics = pytest.importorskip("sklearn.metrics")
    values, labels = predictions
    expected = metrics.confusion_matrix(labels, values.argmax(axis=1), labels=range(7))
    np.testing.assert_array_equal(class_errors.confusion_matrix(values, labels), expected)


def test_confused_pairs_come_by_number_with_their_share_of_the_class():
    matrix = np.array([[50, 3, 0], [9, 0, 1], [0, 0, 7]])
    first, *others = class_errors.most_confused(matrix, 5)
    assert first == (1, 0, 9, 90.0)
    assert [pair[:3] for pair in others] == [(0, 1, 3), (1, 2, 1)]
    assert class_errors.most_confused(matrix, 1) == [first]


def test_the_hardest_images_and_the_most_certain_wrong_ones():
    values = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.0, 1.0], [0.7, 0.3]])
    labels = np.array([0, 0, 0, 1, 1])
    assert wrong_images.hardest(values, labels, 3).tolist() == [1, 4, 2]
    assert wrong_images.most_certain(values, labels, 2).tolist() == [1, 4]
    assert wrong_images.most_certain(values, labels, 9).tolist() == [1, 4, 2]
