"""The protocols of Caltech and VOC, on descriptors that are made here."""

import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.transfer import average_precision, caltech, svm, voc
from vgg_jax.transfer.caltech import Protocol
from vgg_jax.transfer.svm import Problem

average_precision_score = pytest.importorskip("sklearn.metrics").average_precision_score

_NAMES = ("cat", "dog", "emu")
_COUNTS = (12, 5, 7)


def _labels(counts=_COUNTS):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return np.random.default_rng(0).permutation(labels)


def _clusters(labels, noise=0.3):
    """Returns descriptors of norm 1 around one centre per class."""
    rng = np.random.default_rng(1)
    values = np.eye(8, dtype=np.float32)[labels] + noise * rng.standard_normal((len(labels), 8))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_a_draw_takes_as_many_training_and_at_most_as_many_test_images_per_class():
    labels = _labels()
    draws = [Protocol(3, 4).draw(labels, number) for number in (0, 1, 0)]
    for train, test in draws:
        assert np.bincount(labels[train]).tolist() == [3, 3, 3]
        assert np.bincount(labels[test]).tolist() == [4, 2, 4]
        assert not {*train} & {*test}
    assert Protocol(3, 4).num_test(labels).tolist() == [4, 2, 4]
    assert np.array_equal(draws[0].train, draws[2].train)
    assert np.array_equal(draws[0].test, draws[2].test)
    assert not np.array_equal(draws[0].train, draws[1].train)
    other = Protocol(3, 4, seed=1).draw(labels, 0)
    assert not np.array_equal(draws[0].train, other.train)


def test_the_mean_recall_is_that_of_known_answers():
    labels = _labels()
    asked = []

    def classify(train, test_values, seed):
        """Takes every dog for a cat, and recognises the others, whose values name their class."""
        asked.append((len(train.labels), len(test_values), seed))
        found = test_values[:, 0].astype(int)
        return np.where(found == 1, 0, found), 2.0

    values = labels[:, None].astype(np.float32)
    found = [*caltech.outcomes(values, labels, Protocol(3, 50, draws=2, seed=5), classify)]
    assert found == [(2 / 3, 2.0)] * 2  # However many images each class has.
    assert asked == [(9, 9 + 2 + 4, 5)] * 2
    assert caltech.mean_recall(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])) == 1 / 3


def test_the_svm_tells_clusters_apart_and_chance_is_chance():
    labels = _labels((40, 40, 40))
    protocol = Protocol(10, 20)
    (*draws, last) = caltech.lines(_clusters(labels), labels, protocol)
    assert [line.split(":")[0] for line in draws] == ["draw 1", "draw 2", "draw 3"]
    assert float(last.split()[5].rstrip("%,")) > 95
    assert "mean recall of 3 draws: " in last
    assert ", standard deviation " in last
    noise = np.random.default_rng(2).standard_normal((120, 8)).astype(np.float32)
    *_, last = caltech.lines(noise, labels, protocol)
    assert 15 < float(last.split()[5].rstrip("%,")) < 50
    *_, last = caltech.lines(noise, labels, Protocol(10, 20, draws=1))
    assert "deviation" not in last


@pytest.mark.parametrize("num_values", [8, 200])
def test_the_svm_decides_the_same_in_the_span_of_its_training_descriptors(num_values):
    labels = _labels((20, 20, 20))
    rng = np.random.default_rng(3)
    values = _clusters(labels, 0.5) @ rng.standard_normal((8, num_values)).astype(np.float32)
    values += rng.standard_normal(values.shape).astype(np.float32)
    train, others = svm.in_span_of(values[:40], values[40:])
    assert train.shape == (40, min(40, num_values))
    whole = svm.fit(Problem(values[:40], labels[:40]), 1.0).decision_function(values[40:])
    inside = svm.fit(Problem(train, labels[:40]), 1.0).decision_function(others)
    np.testing.assert_allclose(inside, whole, atol=0.01 * np.ptp(whole))
    assert np.ptp(whole) > 1


def test_two_classes_are_told_apart():
    labels = _labels((20, 20))
    *_, last = caltech.lines(_clusters(labels, 0.1), labels, Protocol(5, 10))
    assert last.startswith("mean recall of 3 draws: 100.00%")


@pytest.mark.parametrize(
    ("protocol", "labels", "message"),
    [
        (Protocol(5), _labels(), r"too few images for 5 training .* dog \(5\)\. Lower"),
        (Protocol(1), _labels(), "--train_per_class must be 2 or above"),
        (Protocol(2, 0), _labels(), "--test_per_class and --draws must be 1"),
        (Protocol(2, draws=0), _labels(), "--test_per_class and --draws must be 1"),
        (Protocol(2), np.full(9, -1, np.int32), "needs labelled images of two classes"),
    ],
)
def test_images_that_can_not_be_drawn_are_refused(protocol, labels, message):
    with pytest.raises(UserError, match=message):
        protocol.check(labels, _NAMES)


def test_c_has_the_best_score_of_folds_that_hold_all_classes():
    labels = _labels((7, 8, 9))
    seen = []

    def score(trained, fold):
        seen.append(np.bincount(fold.labels).tolist())
        return -abs(trained.C - 10)

    assert svm.choose_c([Problem(_clusters(labels), labels)], score, seed=3) == 10
    assert len(seen) == svm.NUM_FOLDS * len(svm.CANDIDATES)
    assert {tuple(counts) for counts in seen} <= {(3, 3, 3), (2, 3, 3), (2, 2, 3)}
    assert np.sum(seen[:3], axis=0).tolist() == [7, 8, 9]
    equal = svm.choose_c([Problem(_clusters(labels), labels)], lambda *_: 0.0, seed=3)
    assert equal == min(svm.CANDIDATES)


def _by_hand(scores, positive):
    """The two definitions of VOC's development kit, in plain loops."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    points = []
    for n in range(1, len(order) + 1):
        hits = sum(bool(positive[i]) for i in order[:n])
        points.append((hits, hits / n))
    total = sum(positive)
    best = lambda least: max(p for hits, p in points if hits >= least - 1e-9)  # noqa: E731
    eleven = sum(best(total * t / 10) for t in range(11)) / 11
    return eleven, sum(best(hits) for hits in range(1, total + 1)) / total


def test_average_precision_of_a_few_images_by_hand():
    scores, positive = np.array([5.0, 4, 3, 2, 1]), np.array([1, 0, 1, 0, 1], bool)
    # Precisions at the hits are 1, 2/3 and 3/5; recall reaches 0.3, 0.6 and 1 there.
    assert average_precision.area(scores, positive) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    expected = (4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11
    assert average_precision.eleven_point(scores, positive) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    scores, positive = rng.standard_normal(n), rng.random(n) < 0.4
    positive[0] = True
    eleven, area = _by_hand(scores, positive)
    assert average_precision.eleven_point(scores, positive) == pytest.approx(eleven)
    assert average_precision.area(scores, positive) == pytest.approx(area)
    # scikit-learn takes the precision at each hit instead of the best at that recall or above.
    hits = np.cumsum(positive[np.argsort(-scores)])
    at_hits = (hits / np.arange(1, n + 1))[np.diff(hits, prepend=0) > 0]
    assert average_precision_score(positive, scores) == pytest.approx(at_hits.mean())
    assert area >= average_precision_score(positive, scores) - 1e-9


def test_where_precision_never_rises_the_area_is_scikit_learns():
    scores, positive = np.arange(9.0, 0, -1), np.array([1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    positive[5] = True
    expected = average_precision_score(positive, scores)
    assert average_precision.area(scores, positive) == pytest.approx(expected)


def _targets(values, is_test):
    return voc.Targets(("cat", "dog"), np.array(values, np.int8), np.array(is_test))


def test_difficult_images_count_neither_in_training_nor_in_the_test():
    labels = np.tile([0, 1], 30).astype(np.int32)
    values = _clusters(labels, 0.2)
    targets = np.where(labels[:, None] == [0, 1], 1, -1)
    is_test = np.arange(60) >= 40
    values[:4] = values[1:5]  # These images show the wrong class ...
    values[40:44] = values[41:45]
    targets[:4] = targets[40:44] = 0  # ... and are difficult.
    found = voc.precisions(values, _targets(targets, is_test), seed=0)
    np.testing.assert_array_equal(found.eleven_point, 1)
    np.testing.assert_array_equal(found.area, 1)
    targets[40:44] = np.where(labels[40:44, None] == [0, 1], 1, -1)
    assert voc.precisions(values, _targets(targets, is_test), seed=0).area.max() < 1
    *of_classes, mean = voc.lines(values, _targets(targets, is_test), seed=0)
    assert [line.split(":")[0] for line in of_classes] == ["cat", "dog"]
    assert mean.startswith("mean AP of 2 classes: ")
    assert "(11 points, as in VOC-07)" in mean
    assert "(area, as since VOC-10)" in mean


def test_a_class_that_can_not_be_trained_or_tested_is_refused():
    good = [[1, -1], [1, -1], [-1, 1], [-1, 1], [1, 1]]
    is_test = [False] * 4 + [True]
    _targets(good, is_test).check()
    for row, value in ((0, [0, -1]), (4, [1, 0]), (2, [-1, 0])):
        bad = [*good]
        bad[row] = value
        with pytest.raises(UserError, match=r"test image that shows them: (cat|dog)\. Remove"):
            _targets(bad, is_test).check()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    svm.require_scikit_learn()
    monkeypatch.setattr(svm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^--svm needs scikit-learn.*pip install -e '\.\[svm\]'"):
        svm.require_scikit_learn()
