"""How long an evaluation still takes, by the pixels of its batches and of the passes to come."""

import numpy as np
import pytest
import random_net

from vgg_jax.evaluation import time_left
from vgg_jax.evaluation.size_buckets import PlannedBatch

SIZES = np.array([[100, 100], [200, 300]], np.int32)


@pytest.fixture(scope="module")
def inference():
    return random_net.random_net().inference


@pytest.mark.parametrize(
    ("method", "pixels"),
    [
        ("dense", 2 * (80 * 80 + 80 * 120)),
        ("multicrop", 2 * 50 * 64**2),
        ("tencrop", 2 * 10 * 64**2),
    ],
)
def test_the_pixels_of_a_pass_are_those_of_its_flips_and_crops(inference, method, pixels):
    assert time_left.whole_px(inference, method, 80, SIZES) == pixels


def test_the_rest_takes_as_long_per_pixel_as_what_is_done(inference, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    # 3 images of 64 x 64 px and 1 of 64 x 96 px, all with their flips.
    batches = [PlannedBatch(64, 64, np.array([0, 1, 2])), PlannedBatch(64, 96, np.array([3]))]
    left = time_left.TimeLeft(inference, "dense", batches, later_px=2 * 64 * 64)
    now[0] = 6.0
    assert left.after_batch() == (pytest.approx(3.0), pytest.approx(5.0))
    now[0] = 8.0
    # The first batch, which waited for its images, no longer counts.
    assert left.after_batch() == (0, pytest.approx(2 / 1.5))


def test_compiling_is_not_in_the_estimate(inference, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    left = time_left.TimeLeft(
        inference, "dense", [PlannedBatch(64, 64, np.array([0]))] * 2, later_px=0
    )
    inference.call(_sum_of_pixels, np.zeros((1, 64, 64, 3), np.uint8))  # It takes no time here.
    (key,) = inference.programs
    inference.programs[key] = inference.programs[key]._replace(compile_s=30.0)
    now[0] = 32.0
    assert left.compile_s == 30.0
    assert left.after_batch() == (pytest.approx(2.0), pytest.approx(2.0))


def _sum_of_pixels(inference, images):
    del inference
    return images.sum()
