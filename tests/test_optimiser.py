"""SGD against Caffe's update, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from vgg_jax.training.optimiser import sgd

_MOMENTUM, _L2 = 0.9, 0.05  # The penalty shows within a few steps.
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
            # The three rules that this test must tell apart give very different weights.
            other_penalty = _caffe(weight, steps, _L2 - l2)
            assert np.max(np.abs(expected - other_penalty)) > 1e-3
            assert np.max(np.abs(expected - _pytorch(weight, steps, l2))) > 1e-2


def test_sgd_takes_the_rate_as_a_number_too():
    params = {"fc8": {"kernel": jnp.ones((1, 1, 2, 2)), "bias": jnp.ones(2)}}
    optimiser = sgd(0.9, 5e-4)
    updates, _ = optimiser.update(params, optimiser.init(params), params, learning_rate=1e-2)
    np.testing.assert_allclose(updates["fc8"]["kernel"], -1e-2 * (1 + 5e-4), rtol=1e-6)
    np.testing.assert_allclose(updates["fc8"]["bias"], -1e-2, rtol=1e-6)
