"""A run that ended before its net had learned says so, and what to do."""

import pytest

from configs import quickstart
from vgg_jax import not_learned


def advice(error, *, classes=40, images=1000, epoch=12, ended_by_schedule=False, **keys):
    c = quickstart.get_config()
    c.num_epochs = 30
    c.update_from_flattened_dict(keys)
    val = {"top1_error": error, "num_images": images, "epoch": epoch}
    result = {"last": val, "best": val, "num_classes": classes}
    return not_learned.advice(c, result | {"ended_by_schedule": ended_by_schedule})


@pytest.mark.parametrize(
    ("error", "classes", "images"), [(97.5, 40, 1000), (94.0, 40, 1000), (50.0, 3, 12)]
)
def test_an_error_that_chance_explains_is_said(error, classes, images):
    text = advice(error, classes=classes, images=images)
    assert f"its best top-1 error is {error:.2f}% of {images:,} images" in text


@pytest.mark.parametrize(
    ("error", "classes", "images"), [(90.0, 40, 1000), (60.0, 3, 1000), (25.0, 3, 12)]
)
def test_a_net_that_has_learned_is_not_advised(error, classes, images):
    assert advice(error, classes=classes, images=images) is None


def test_a_trained_net_comes_first_then_patience_or_another_rate():
    text = advice(97.0)
    assert "The plateau rule ended training after 12 epochs of 30. In a new --workdir" in text
    places = [
        text.index("--config.init_from=WORKDIR --config.init_layers=all_but_fc8"),
        text.index("--config.plateau.patience_epochs=15 (it was 5)"),
        text.index("--config.learning_rate"),
    ]
    assert places == sorted(places)


def test_the_advice_fits_how_the_run_began_and_ended():
    assert "init_from" not in advice(97.0, init_from="runs/a")
    assert "ended after its 30 epochs" in advice(97.0, epoch=30)
    assert "larger --config.num_epochs" in advice(97.0, epoch=30)
    assert "patience" not in advice(97.0, epoch=30)
    in_the_last = advice(97.0, epoch=30, ended_by_schedule=True)
    assert "ended training after 30 epochs of 30" in in_the_last
    assert "num_epochs" not in in_the_last
