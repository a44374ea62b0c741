"""Colour shift, normalisation and keys, against closed forms in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.nets import pixels

# These are the components of Krizhevsky et al. 2012: eigenvectors as columns, and l for RGB in
# [0, 1] and in 0-255.
_P = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_L_UNIT = np.array([0.2175, 0.0188, 0.0045])
_L_255 = np.array([55.46, 4.794, 1.148])


def _shifts(keys, sigma=0.1):
    return np.asarray(pixels.colour_shift(jnp.zeros((len(keys), 1, 1, 3)), keys, sigma))[:, 0, 0]


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_colour_shift_is_the_papers_sum_of_components(sigma):
    keys = jax.random.split(jax.random.key(0), 16)
    draws = np.array([jax.random.normal(key, (3,)) for key in keys], np.float64)

    shifts = _shifts(keys, sigma)

    expected = np.array([_P @ (a * sigma * 255 * _L_UNIT) for a in draws])
    np.testing.assert_allclose(shifts, expected, rtol=1e-5, atol=1e-5 * sigma)
    # Their l for 0-255 is rounded to four digits.
    rounded = np.array([_P @ (a * sigma * _L_255) for a in draws])
    np.testing.assert_allclose(shifts, rounded, rtol=0, atol=4 * sigma * 0.003)
    assert np.max(np.abs(expected)) > 50 * sigma


def test_colour_shift_adds_one_colour_to_an_image():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 6, 7, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 5)

    shifted = np.asarray(pixels.colour_shift(jnp.asarray(images), keys, 0.1))

    shifts = _shifts(keys)
    np.testing.assert_allclose(shifted, images + shifts[:, None, None], rtol=0, atol=1e-4)
    assert len(np.unique(shifts, axis=0)) == 5
    order = np.array([4, 2, 0, 1, 3])
    permuted = pixels.colour_shift(jnp.asarray(images[order]), keys[order], 0.1)
    np.testing.assert_array_equal(permuted, shifted[order])


def test_colour_shifts_covariance_is_p_l_squared_p():
    count = 40_000
    shifts = _shifts(jax.random.split(jax.random.key(2), count)).astype(np.float64)

    # In the eigenvectors' basis the components are independent, with deviations of l_i * sigma.
    along = np.linalg.solve(_P, shifts.T)
    covariance = np.cov(along / (0.1 * 255 * _L_UNIT)[:, None])
    # The tolerance is five standard errors: sqrt(2 / n) on the diagonal, sqrt(1 / n) beside it.
    np.testing.assert_allclose(covariance, np.eye(3), rtol=0, atol=5 * np.sqrt(2 / count))
    np.testing.assert_allclose(
        (along / (0.1 * 255 * _L_UNIT)[:, None]).mean(1), 0, atol=5 / np.sqrt(count)
    )


def test_no_colour_shift_at_sigma_0():
    images = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 3)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    np.testing.assert_array_equal(pixels.colour_shift(images, keys, 0.0), images)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("input_scale", [1.0, 1 / 64])
def test_normalise_subtracts_the_mean_then_scales(dtype, input_scale):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(dtype)
    mean_rgb = (123.68, 116.779, 103.939)

    y = pixels.Normalise(mean_rgb, input_scale)(jnp.asarray(images))

    assert y.dtype == jnp.float32
    expected = (images.astype(np.float32) - np.float32(mean_rgb)) * np.float32(input_scale)
    np.testing.assert_array_equal(y, expected)


def _data(keys):
    return [tuple(row) for row in np.asarray(jax.random.key_data(keys)).tolist()]


def test_an_examples_key_is_of_its_seed_step_and_place_alone():
    keys = _data(pixels.example_keys(7, 11, 32))

    assert _data(pixels.example_keys(7, 11, 8)) == keys[:8]
    assert _data(pixels.example_keys(7, jnp.asarray(11), 32)) == keys
    jitted = jax.jit(lambda step: pixels.example_keys(7, step, 32))
    assert _data(jitted(jnp.asarray(11))) == keys


def test_example_keys_differ_over_seeds_steps_and_places():
    keys = [
        key
        for seed in range(3)
        for step in range(5)
        for key in _data(pixels.example_keys(seed, step, 16))
    ]
    assert len(set(keys)) == 3 * 5 * 16
