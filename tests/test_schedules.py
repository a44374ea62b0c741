"""The plateau rule against the paper's words (§3.1)."""

import dataclasses

import numpy as np
import pytest

from vgg_jax.training.schedules import PlateauRule, PlateauState


def _run(errors, learning_rate, rule=None):
    """Returns the rate of each epoch that is trained and whether training ended."""
    rule, state, rates = rule or PlateauRule(), (rule or PlateauRule()).begin(learning_rate), []
    for error in errors:
        if state.ended:
            break
        rates.append(state.learning_rate)
        state = rule.after_epoch(state, error)
    return rates, state


def _reference(hundredths, drops):
    """The rule on errors in whole hundredths of a point; returns each epoch's count of drops."""
    best, waited, dropped, result = 10_000, 0, 0, []
    for error in hundredths:
        result.append(dropped)
        if best - error >= 10:
            best, waited = error, 0
            continue
        waited += 1
        if waited == 5:
            if dropped == drops:
                return result, best, True
            dropped, waited = dropped + 1, 0
    return result, best, False


_IMPROVES = [90.0, 80.0, 70.0]
_SEQUENCES = {
    "falls always": [90.0 - epoch for epoch in range(40)],
    "flat from the start": [100.0] * 40,
    "flat after three": [*_IMPROVES, *[70.0] * 40],
    "worse, then as good as the best": [*_IMPROVES, *[75.0, 72.0, 70.0] * 15],
    "a drop helps": [*_IMPROVES, *[70.0] * 5, 60.0, 59.0, *[59.5] * 5, 50.0, *[50.0] * 30],
    "a drop makes it worse first": [
        *_IMPROVES,
        *[70.0] * 5,
        *[71.0, 70.5, 70.2, 69.95],
        *[69.9] * 9,
    ],
    "improves on the fifth epoch": [*_IMPROVES, *[70.0] * 4, 69.0, *[69.0] * 4, 68.0, *[68.0] * 4],
    "creeps by 0.05": [70.0 - 0.05 * epoch for epoch in range(60)],
    "creeps by 0.01": [70.0 - 0.01 * epoch for epoch in range(60)],
    "exactly 0.1 each": [70.0 - epoch / 10 for epoch in range(60)],
}


@pytest.mark.parametrize(("learning_rate", "drops"), [(1e-2, 3), (1e-3, 2)])
@pytest.mark.parametrize("name", _SEQUENCES)
def test_plateau_rule_is_the_reference(name, learning_rate, drops):
    errors = _SEQUENCES[name]
    dropped, best, ended = _reference([round(error * 100) for error in errors], drops)

    rates, state = _run(errors, learning_rate)

    np.testing.assert_allclose(rates, [learning_rate / 10**count for count in dropped], rtol=1e-9)
    assert state.ended == ended
    assert state.best_error == pytest.approx(best / 100, abs=1e-9)


def test_the_rate_drops_after_five_epochs_without_an_improvement():
    # Epochs 1 to 3 improve; 4 to 8 do not; epoch 9 is the first at the lower rate.
    rates, _ = _run([*_IMPROVES, *[70.0] * 6], 1e-2)
    np.testing.assert_allclose(rates, [1e-2] * 8 + [1e-3], rtol=1e-9)


def test_an_improvement_of_exactly_a_tenth_counts_wherever_it_falls():
    for tenths in range(2, 1000):
        state = PlateauState(1e-2, best_error=tenths / 10, epochs_since_best=4)
        improved = PlateauRule().after_epoch(state, (tenths - 1) / 10)
        assert improved == PlateauState(1e-2, best_error=(tenths - 1) / 10)


@pytest.mark.parametrize("better_by", [0.0, 0.05, 0.09, 0.099])
def test_a_smaller_improvement_neither_counts_nor_moves_the_best(better_by):
    state = PlateauState(1e-2, best_error=50.0, epochs_since_best=1)
    assert PlateauRule().after_epoch(state, 50.0 - better_by) == dataclasses.replace(
        state, epochs_since_best=2
    )


def test_the_best_error_persists_across_drops():
    # After the drop the error is worse than 70, falls steadily, but reaches no 69.9.
    errors = [*_IMPROVES, *[70.0] * 5, 75.0, 74.0, 73.0, 72.0, 71.0, 69.95]
    rates, state = _run(errors, 1e-2)
    np.testing.assert_allclose(rates, [1e-2] * 8 + [1e-3] * 5 + [1e-4], rtol=1e-9)
    assert state.best_error == 70.0


@pytest.mark.parametrize(("learning_rate", "drops"), [(1e-2, 3), (1e-3, 2), (1e-5, 0)])
def test_a_plateau_at_the_last_rate_ends_training(learning_rate, drops):
    rates, state = _run([90.0] + [90.0] * 100, learning_rate)

    assert state.ended
    assert len(rates) == 1 + 5 * (drops + 1)
    distinct = list(dict.fromkeys(rates))
    assert len(distinct) == drops + 1
    assert distinct[-1] == pytest.approx(1e-5, rel=1e-9)


def test_the_rule_can_be_set():
    rule = PlateauRule(patience_epochs=2, min_improvement=1.0, factor=0.5, last_rate=0.25)
    rates, state = _run([50.0, 49.5, 49.2, 48.5, 48.5, 48.5, 48.5, 48.5], 1.0, rule)
    np.testing.assert_allclose(rates, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25], rtol=1e-9)
    assert state.ended
