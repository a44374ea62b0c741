"""The warning that a net hasn't begun to learn, and the remedy that it names."""

import json
import math

import pytest

from configs import a_256, e_256
from vgg_jax.training import stuck_at_chance

AT_CHANCE = math.log(40)


def warning(tmp_path, losses, c=None, epoch=1, val_loss=1.0):
    lines = [
        {"kind": "train", "step": 10 * (i + 1), "loss": loss * AT_CHANCE}
        for i, loss in enumerate(losses)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    c = c or a_256.get_config()
    return stuck_at_chance.warning(
        tmp_path,
        c,
        epoch=epoch,
        steps_per_epoch=40,
        num_classes=40,
        val_loss=val_loss * AT_CHANCE,
    )


@pytest.mark.parametrize("losses", [[1, 1, 1, 1], [1.009, 0.992, 1, 1.009], [1.25, 1.0, 1.0, 1.0]])
def test_a_loss_at_chance_is_said(tmp_path, losses):
    text = warning(tmp_path, losses)
    assert "within 1% of ln(40) = 3.689 in epoch 1" in text


@pytest.mark.parametrize(
    "losses", [[1, 0.98, 0.97, 0.95], [1, 1, 1, 0.98], [0.9, 0.9, 0.9, 0.9], [2, 2, 2, 2]]
)
def test_a_loss_that_falls_or_is_elsewhere_is_not(tmp_path, losses):
    assert warning(tmp_path, losses) is None


def test_a_net_that_has_begun_to_learn_by_its_validation_loss_is_not_warned_of(tmp_path):
    assert warning(tmp_path, [1, 1, 1, 1], val_loss=0.995)
    assert warning(tmp_path, [1, 1, 1, 1], val_loss=0.98) is None
    assert "far above" in warning(tmp_path, [1, 2, 9, 30], val_loss=0.9)


def test_a_loss_far_above_chance_is_said(tmp_path):
    text = warning(tmp_path, [1, 2, 9, 30])
    assert "was 111 at the end of epoch 1, far above ln(40) = 3.689" in text
    assert warning(tmp_path, [30, 9, 2, 1.5]) is None  # It has come down again.


def test_each_epoch_is_looked_at_alone(tmp_path):
    losses = [1, 1, 1, 1, 0.9, 0.8, 0.7, 0.6]
    assert warning(tmp_path, losses, epoch=1)
    assert warning(tmp_path, losses, epoch=2) is None


def test_what_stays_true_is_said_again_every_tenth_epoch(tmp_path):
    losses = 20 * [1, 1, 1, 1]
    said = [epoch for epoch in range(1, 21) if warning(tmp_path, losses, epoch=epoch)]
    assert said == [1, 10, 20]
    far = [1, 2, 9, 30]
    assert "far above" in warning(tmp_path, [*losses[:4], *far], epoch=2)
    assert "within 1%" in warning(tmp_path, [*far, *losses[:4]], epoch=2)
    assert warning(tmp_path, [*far, *far], epoch=2) is None


def test_the_remedy_follows_from_the_config(tmp_path):
    c = a_256.get_config()
    assert "first thousand steps" in warning(tmp_path, [1], c)
    c.init = "glorot"
    assert "leave --config.init and --config.input_scale" in warning(tmp_path, [1], c)
    c.init, c.input_scale = "he", 1.0
    assert "leave --config.init and --config.input_scale" in warning(tmp_path, [1], c)
    c = e_256.get_config()
    assert "first thousand steps" in warning(tmp_path, [1], c)
    c.init_from = "none"
    assert "--config.init_from=a_256 --config.init_layers=preinit" in warning(tmp_path, [1], c)
    c.name = "mini_e_256"
    assert "--config.init_from=mini_a_256 --config.init_layers=pre" in warning(tmp_path, [1], c)
    c.name = "mine"
    assert "--config.init_from=WORKDIR_OF_A " in warning(tmp_path, [1], c)
