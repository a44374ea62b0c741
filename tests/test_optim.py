"""SGD against Caffe's update written out in NumPy; the plateau rule against a plain reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.training.optimiser import sgd
from vgg_jax.training.plateau import PlateauRule, PlateauState

_MOMENTUM, _L2 = 0.9, 0.05  # A penalty that shows within a few steps.
_RATES = [1e-1, 1e-1, 1e-1, 1e-2, 1e-2, 1e-2, 1e-3]


def _problem():
    rng = np.random.default_rng(0)
    shapes = {"conv1_1": (3, 3, 3, 4), "fc8": (1, 1, 6, 5)}
    params = {
        name: {"kernel": rng.standard_normal(shape), "bias": rng.standard_normal(shape[-1:])}
        for name, shape in shapes.items()
    }
    gradients = [jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), params) for _ in _RATES]
    return params, gradients


def _caffe(weight, gradients, l2):
    velocity = np.zeros_like(weight)
    for rate, gradient in zip(_RATES, gradients, strict=True):
        velocity = _MOMENTUM * velocity - rate * (gradient + l2 * weight)
        weight = weight + velocity
    return weight


def _pytorch(weight, gradients, l2):
    velocity = np.zeros_like(weight)
    for rate, gradient in zip(_RATES, gradients, strict=True):
        velocity = _MOMENTUM * velocity + gradient + l2 * weight
        weight = weight - rate * velocity
    return weight


def test_sgd_is_caffes_with_the_l2_penalty_on_kernels_only():
    start, gradients = _problem()
    optimiser = sgd(_MOMENTUM, _L2)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), start)
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, gradient, rate):
        updates, state = optimiser.update(gradient, state, params, learning_rate=rate)
        return jax.tree.map(jnp.add, params, updates), state

    for rate, gradient in zip(_RATES, gradients, strict=True):
        gradient = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), gradient)
        params, state = step(params, state, gradient, jnp.asarray(rate, jnp.float32))

    for name, layer in params.items():
        for part, l2 in (("kernel", _L2), ("bias", 0.0)):
            weight, steps = start[name][part], [gradient[name][part] for gradient in gradients]
            expected = _caffe(weight, steps, l2)
            np.testing.assert_allclose(layer[part], expected, rtol=1e-5, atol=1e-5)
            # The three things that this test is to tell apart are far apart.
            other_penalty = _caffe(weight, steps, _L2 - l2)
            assert np.max(np.abs(expected - other_penalty)) > 1e-3
            assert np.max(np.abs(expected - _pytorch(weight, steps, l2))) > 1e-2


def test_sgd_takes_the_rate_as_a_number_too():
    params = {"fc8": {"kernel": jnp.ones((1, 1, 2, 2)), "bias": jnp.ones(2)}}
    optimiser = sgd(0.9, 5e-4)
    updates, _ = optimiser.update(params, optimiser.init(params), params, learning_rate=1e-2)
    np.testing.assert_allclose(updates["fc8"]["kernel"], -1e-2 * (1 + 5e-4), rtol=1e-6)
    np.testing.assert_allclose(updates["fc8"]["bias"], -1e-2, rtol=1e-6)


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
