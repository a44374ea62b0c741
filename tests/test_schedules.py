"""The plateau rule against the paper's words (§3.1), and the other schedules against Optax's."""

import dataclasses
import json
import math

import numpy as np
import optax
import pytest

from vgg_jax import base_config
from vgg_jax.errors import UserError
from vgg_jax.system import by_name
from vgg_jax.training import schedules
from vgg_jax.training import settings as training_settings
from vgg_jax.training.loop import Progress
from vgg_jax.training.schedule import Schedule


def _config(**changes):
    c = base_config.get_config()
    c.update_from_flattened_dict(changes)
    return c


def _plateau(learning_rate=1e-2, **state):
    return schedules.from_config(_config(learning_rate=learning_rate)).restored(state)


# The plateau rule.


def _run(errors, learning_rate, **changes):
    """Returns the rate of each epoch that is trained, and the rule after the last."""
    rule, rates = schedules.from_config(_config(learning_rate=learning_rate, **changes)), []
    for epoch, error in enumerate(errors):
        if rule.ended:
            break
        assert rule.rate(epoch + 0.0) == rule.rate(epoch + 0.9)
        rates.append(rule.rate(epoch + 0.0))
        rule = rule.after_epoch(error)
    return rates, rule


def _reference(hundredths, drops):
    """Applies the rule to errors in whole hundredths of a point.

    Returns the drops before each epoch, the best error, and whether training ended.
    """
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
        rule = _plateau(best_error=tenths / 10, epochs_since_best=4)
        improved = rule.after_epoch((tenths - 1) / 10)
        assert improved == _plateau(best_error=(tenths - 1) / 10)


@pytest.mark.parametrize("better_by", [0.0, 0.05, 0.09, 0.099])
def test_a_smaller_improvement_neither_counts_nor_moves_the_best(better_by):
    rule = _plateau(best_error=50.0, epochs_since_best=1)
    assert rule.after_epoch(50.0 - better_by) == dataclasses.replace(rule, epochs_since_best=2)


def test_the_best_error_persists_across_drops():
    # After the drop the error is above 70 and falls steadily, but it doesn't reach 69.9.
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
    rule = {"patience_epochs": 2, "min_improvement": 1.0, "factor": 0.5, "last_rate": 0.25}
    errors = [50.0, 49.5, 49.2, 48.5, 48.5, 48.5, 48.5, 48.5]
    rates, state = _run(errors, 1.0, **{f"plateau.{key}": value for key, value in rule.items()})
    np.testing.assert_allclose(rates, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25], rtol=1e-9)
    assert state.ended


# What a checkpoint keeps.


@pytest.mark.parametrize("name", _SEQUENCES)
def test_the_plateau_rule_goes_on_from_a_checkpoint_after_any_epoch(name):
    begun = schedule = schedules.from_config(_config())
    for error in _SEQUENCES[name]:
        schedule = schedule.after_epoch(error)
        kept = json.loads(json.dumps(Progress(schedule).to_json()))
        assert Progress.from_json(kept, begun) == Progress(schedule)


def test_a_checkpoint_of_the_time_when_the_plateau_rule_was_the_only_schedule_goes_on():
    state = {"learning_rate": 1e-3, "best_error": 70.1, "epochs_since_best": 2, "ended": False}
    kept = {"plateau": state, "validation_due": True, "window": [{"loss": 2.5, "error": 50.0}]}
    progress = Progress.from_json(kept, schedules.from_config(_config()))
    assert progress.schedule == _plateau(**state)
    assert progress.to_json() == {"schedule": state} | {
        key: kept[key] for key in ("validation_due", "window")
    }


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_what_depends_on_the_step_alone_remembers_nothing(name):
    schedule = schedules.from_config(_config(schedule=name))
    assert schedule.state == {}
    assert schedule.restored({}) == schedule.after_epoch(90.0) == schedule
    assert not schedule.ended


# Constant and cosine.

_STEPS_PER_EPOCH, _NUM_EPOCHS = 12, 5


def _rates(**changes):
    schedule = schedules.from_config(_config(num_epochs=_NUM_EPOCHS, **changes))
    # No step begins at the last value, which is the end of training.
    return [schedule.rate(i / _STEPS_PER_EPOCH) for i in range(_NUM_EPOCHS * _STEPS_PER_EPOCH + 1)]


def _of_optax(schedule):
    return [float(schedule(i)) for i in range(_NUM_EPOCHS * _STEPS_PER_EPOCH + 1)]


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.25, 1.0, 2.5, 100.0])
def test_constant_is_optaxs(warmup_epochs):
    ours = _rates(schedule="constant", **{"constant.warmup_epochs": warmup_epochs})
    if warmup_epochs:
        theirs = optax.linear_schedule(0, 1e-2, round(warmup_epochs * _STEPS_PER_EPOCH))
        np.testing.assert_allclose(ours, _of_optax(theirs), rtol=1e-5, atol=1e-9)
    else:
        assert set(ours) == {1e-2}


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.25, 1.0, 2.5])
@pytest.mark.parametrize("final_rate", [0.0, 1e-4, 1e-2])
def test_cosine_is_optaxs(warmup_epochs, final_rate):
    keys = {"cosine.warmup_epochs": warmup_epochs, "cosine.final_rate": final_rate}
    theirs = optax.warmup_cosine_decay_schedule(
        init_value=0,
        peak_value=1e-2,
        warmup_steps=round(warmup_epochs * _STEPS_PER_EPOCH),
        decay_steps=_NUM_EPOCHS * _STEPS_PER_EPOCH,
        end_value=final_rate,
    )
    # Optax computes in float32, where the end of a cosine is 1 - 1 with a rounding error.
    np.testing.assert_allclose(
        _rates(schedule="cosine", **keys), _of_optax(theirs), rtol=1e-5, atol=1e-9
    )


def test_a_warm_up_may_end_between_two_steps():
    rates = _rates(schedule="constant", **{"constant.warmup_epochs": 2.5 / _STEPS_PER_EPOCH})
    np.testing.assert_allclose(rates[:4], [0, 4e-3, 8e-3, 1e-2], rtol=1e-12)
    assert set(rates[4:]) == {1e-2}


# What is refused.

IMPOSSIBLE = [
    ({"schedule": "cosin"}, "plateau, MODULE:NAME. Did you mean cosine?"),
    ({"schedule": "linear"}, "schedule='linear' must be one of constant, "),
    ({"schedule": "absent_module:Mine"}, "schedule=absent_module:Mine: there is no module"),
    ({"schedule": "math:pi"}, "schedule=math:pi must be a class that derives from vgg_jax"),
    ({"schedule": "pathlib:Path"}, "schedule=pathlib:Path must be a class that derives from"),
    ({"schedule": f"{Schedule.__module__}:Schedule"}, "doesn't define from_config and rate: see"),
    *(
        ({"schedule": name, f"{name}.warmup_epochs": value}, f"{name}.warmup_epochs={value} must")
        for name in ("constant", "cosine")
        for value in (-0.5, math.inf, math.nan)
    ),
    ({"schedule": "cosine", "cosine.warmup_epochs": 74.0}, "must be below num_epochs=74"),
    *(
        ({"schedule": "cosine", "cosine.final_rate": value}, f"cosine.final_rate={value} must lie")
        for value in (-1e-4, 0.011, math.inf, math.nan)
    ),
    ({"schedule": "cosine", "plateau.factor": 0.5}, "plateau.factor=0.5 has no effect with schedu"),
    ({"cosine.warmup_epochs": 1.0}, "no effect with schedule=plateau. Leave it out, or set --conf"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"), IMPOSSIBLE, ids=[str([*given.values()]) for given, _ in IMPOSSIBLE]
)
def test_an_impossible_value_is_named(changes, says):
    with pytest.raises(UserError) as caught:
        training_settings.check(_config(**changes))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "constant", "constant.warmup_epochs": 1000.0},
        {"schedule": "cosine", "cosine.warmup_epochs": 73.5, "cosine.final_rate": 1e-2},
    ],
)
def test_the_edges_of_what_is_possible(changes):
    training_settings.check(_config(**changes))


def test_a_schedule_may_have_no_section_of_the_config():
    c = _config()
    with c.unlocked():
        del c.constant
    schedules.refuse_unused_keys(c)
    c.cosine.final_rate = 1e-3
    with pytest.raises(UserError, match=r"cosine\.final_rate=0\.001 has no effect"):
        schedules.refuse_unused_keys(c)


def test_every_file_of_the_package_is_a_schedule():
    names = by_name.names("vgg_jax.training.schedules")
    assert {"constant", "cosine", "plateau"} <= {*names}
    for name in names:
        assert isinstance(schedules.from_config(_config(schedule=name)), Schedule)
