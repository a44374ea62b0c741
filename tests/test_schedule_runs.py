"""Short real runs: a cosine that is resumed, and a user's own schedule."""

import shutil

import jax
import numpy as np
import optax
import pytest
import saved
import small_runs

from vgg_jax import base_config
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config
from vgg_jax.training import metrics_file, schedules

_SHORT = ("--config.num_epochs=3", "--config.log_every_steps=1", "--config.eval.method=none")


def _logged_rates(workdir):
    train, val = (metrics_file.read(workdir, kind) for kind in ("train", "val"))
    # A validation is logged with the rate of the step before it.
    at = {record["step"]: record["learning_rate"] for record in train}
    assert [record["learning_rate"] for record in val] == [at[record["step"]] for record in val]
    return list(at.values())


def _interrupted(workdir, copy):
    """Copies a finished run of 6 steps as it was after step 5, which is within an epoch."""
    shutil.copytree(workdir, copy)
    assert saved.steps(copy)[-2:] == [5, 6]
    shutil.rmtree(copy / "checkpoints/6")
    (copy / "result.json").unlink()
    return copy


def test_a_cosine_that_is_resumed_within_an_epoch_ends_as_one_that_was_not(
    run_main, folder, tmp_path
):
    def args(workdir):
        return small_runs.one_epoch(
            folder,
            workdir,
            *_SHORT,
            "--config.schedule=cosine",
            "--config.cosine.warmup_epochs=1",
            "--config.cosine.final_rate=1e-4",
            "--config.checkpoint_every_steps=1",
        )

    run_main(*args(tmp_path / "whole"))
    rates = _logged_rates(tmp_path / "whole")
    theirs = optax.warmup_cosine_decay_schedule(0, 1e-2, 2, 6, 1e-4)
    np.testing.assert_allclose(rates, [float(theirs(i)) for i in range(6)], rtol=1e-5)

    resumed = _interrupted(tmp_path / "whole", tmp_path / "resumed")
    run_main(*args(resumed))
    assert _logged_rates(resumed) == rates
    ours, whole = (jax.tree.leaves(saved.arrays(tmp_path / run)) for run in ("resumed", "whole"))
    for a, b in zip(ours, whole, strict=True):
        np.testing.assert_array_equal(a, b)


# A user's own schedule.

_OWN = """
import dataclasses

import numpy as np

from vgg_jax.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Halving(Schedule):
    learning_rate: float
    every_epochs: float

    @classmethod
    def from_config(cls, c):
        return cls(c.learning_rate, c.halving.every_epochs)

    def rate(self, epochs):
        return np.float32(self.learning_rate * 0.5 ** (epochs // self.every_epochs))
"""

_OWN_CONFIG = """
from ml_collections import ConfigDict

from configs import mini


def get_config():
    c = mini.get_config("a_256")
    with c.unlocked():
        c.schedule = "mine:Halving"
        c.halving = ConfigDict({"every_epochs": 10.0})
    return c
"""


def test_a_users_schedule_is_told_which_key_the_config_lacks(own_module):
    own_module("mine", _OWN)
    c = base_config.get_config()
    c.schedule = "mine:Halving"
    with pytest.raises(UserError, match=r"^schedule=mine:Halving reads .* lacks: 'halving'\. A"):
        schedules.from_config(c)


def test_what_fails_within_a_users_schedule_shows_as_it_is(own_module):
    own_module("mine", _OWN.replace("c.halving.every_epochs", "c.learning_rate.absent"))
    c = base_config.get_config()
    c.schedule = "mine:Halving"
    with pytest.raises(AttributeError, match="absent"):
        schedules.from_config(c)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def after_epoch(self, top1_error): return self", "not both state and restored. A run"),
        ("state = {'best': np.float32(1)}", r"its state can't be saved as JSON \(.*float32"),
        (
            "state = {}; restored = after_epoch = lambda self, values: None",
            "from_config and after_epoch must return a schedule, not None",
        ),
    ],
)
def test_a_users_schedule_that_could_not_be_resumed_is_refused(own_module, method, message):
    text = _OWN.replace("c.halving.every_epochs", "1.0")
    own_module("mine", f"{text}\n    {method}\n")
    c = base_config.get_config()
    c.schedule = "mine:Halving"
    with pytest.raises(UserError, match=f"^schedule=mine:Halving.*{message}"):
        schedules.from_config(c)


def test_a_users_own_schedule_trains_with_a_section_of_its_own(
    run_main, folder, tmp_path, own_module
):
    own_module("mine", _OWN)
    (tmp_path / "own_config.py").write_text(_OWN_CONFIG)
    workdir = tmp_path / "run"
    more = ("--config.halving.every_epochs=1", "--config.checkpoint_every_steps=1", *_SHORT)
    _, *given = small_runs.one_epoch(folder, workdir, *more)
    run_main(f"--config={tmp_path / 'own_config.py'}", *given)
    rates = _logged_rates(workdir)
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3, 2.5e-3], rtol=1e-6)

    c = run_config.load(workdir)
    assert (c.schedule, c.halving.every_epochs) == ("mine:Halving", 1.0)
    # The workdir alone is enough to resume the run, and another value is refused.
    resumed = _interrupted(workdir, tmp_path / "resumed")
    with pytest.raises(UserError, match=r"halving\.every_epochs: 1\.0 there, 2\.0 now"):
        run_main(f"--workdir={resumed}", "--config.halving.every_epochs=2")
    run_main(f"--workdir={resumed}")
    assert _logged_rates(resumed) == rates
