"""Crops are resampled by the triangle filter, whatever library does it."""

import concurrent.futures

import numpy as np
import pytest
from PIL import Image

from vgg_jax.data import resample

LIBRARIES = list(dict.fromkeys([resample.simd, None]))
SIZES = [(131, 97), (97, 131), (500, 375), (12, 300), (300, 12), (33, 33), (1, 1)]


@pytest.fixture(params=LIBRARIES, ids=lambda library: "Pillow" if library is None else "SIMD")
def library(request, monkeypatch):
    monkeypatch.setattr(resample, "simd", request.param)
    return request.param


def _noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _boxes(width, height, side, number=8):
    """Yields squares of images whose shorter side becomes 1 to 3 times the crop's."""
    rng = np.random.default_rng(side)
    for _ in range(number):
        length = min(width, height) / rng.uniform(1, 3)
        left, top = (rng.choice([0, 1, rng.random()]) * (side - length) for side in (width, height))
        yield left, top, left + length, top + length


def _weights(low, high, side, length):
    """Returns the triangle filter's matrix, in double precision."""
    step = (high - low) / side
    centres = low + (np.arange(side)[:, None] + 0.5) * step
    far = np.abs(np.arange(length) + 0.5 - centres) / max(1, step)
    weights = np.maximum(0, 1 - far)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("side", [1, 32, 224])
@pytest.mark.parametrize("size", SIZES)
def test_values_are_those_of_the_triangle_filter(library, size, side):
    pixels = _noise(*size)
    for box in _boxes(*size, side):
        left, top, right, bottom = box
        across, down = _weights(left, right, side, size[0]), _weights(top, bottom, side, size[1])
        exact = np.einsum("ih,hwc,jw->ijc", down, pixels.astype(float), across, optimize=True)
        # Each of the two passes rounds to 8 bits, after sums of rounded weights.
        assert np.abs(resample.square(pixels, box, side) - exact).max() < 1.05


@pytest.mark.parametrize("size", SIZES)
def test_both_libraries_differ_by_roundings_alone(monkeypatch, size):
    pixels, found = _noise(*size), []
    for library in LIBRARIES:
        monkeypatch.setattr(resample, "simd", library)
        squares = [resample.square(pixels, box, 64) for box in _boxes(*size, 64)]
        found.append(np.stack(squares).astype(int))
    difference = np.abs(found[0] - found[-1])
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_rows_that_are_not_needed_may_be_missing(library):
    pixels = _noise(97, 131)
    for box in _boxes(97, 131, 32, number=40):
        num_rows = resample.num_rows(box, 32)
        assert num_rows >= box[3]
        np.testing.assert_array_equal(
            resample.square(pixels[:num_rows], box, 32), resample.square(pixels, box, 32)
        )


def test_an_image_of_pillow_is_cut_like_an_array_in_strips_too(library, monkeypatch):
    pixels = _noise(97, 131)
    for box in _boxes(97, 131, 32):
        expected = resample.square(pixels, box, 32)
        for strip_px in (2**18, 1000, 1):
            monkeypatch.setattr(resample, "_STRIP_PX", strip_px)
            for image in (pixels, Image.fromarray(pixels)):
                np.testing.assert_array_equal(resample.square(image, box, 32), expected)


def test_an_end_that_rounding_has_put_outside_counts_as_the_edge(library):
    pixels = _noise(100, 80)
    outside = resample.square(pixels, (20, 0, np.nextafter(100, 101), np.nextafter(80, 81)), 32)
    np.testing.assert_array_equal(outside, resample.square(pixels, (20, 0, 100, 80), 32))


def test_a_part_at_its_own_size_is_copied(library):
    pixels = _noise(50, 40)
    np.testing.assert_array_equal(resample.square(pixels, (7, 5, 39, 37), 32), pixels[5:37, 7:39])


def test_threads_do_not_disturb_each_other(library):
    pixels = _noise(500, 375)
    boxes = list(_boxes(500, 375, 224, number=60))
    alone = [resample.square(pixels, box, 224) for box in boxes]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda box: resample.square(pixels, box, 224), boxes)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_pillow_gives_the_same_for_the_whole_image(library):
    pixels = _noise(150, 120)
    resized = Image.fromarray(pixels).resize((100, 80), Image.Resampling.BILINEAR)
    expected = np.asarray(resized, np.int32)[10:74, 20:84]
    box = tuple(1.5 * edge for edge in (20, 10, 84, 74))
    difference = np.abs(resample.square(pixels, box, 64) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01
