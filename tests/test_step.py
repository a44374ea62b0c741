import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_steps import BATCH, NORMALISE, narrow_net, random_batch, run_steps

from vgg_jax.nets.vgg import VGG, init_params
from vgg_jax.runs.state import init_state
from vgg_jax.training import step
from vgg_jax.training.optimiser import sgd


@pytest.fixture(scope="module")
def model():
    return narrow_net()


@pytest.fixture(scope="module")
def batch():
    return random_batch()


def test_the_fc_layers_alone_are_trained(model, batch):
    before = init_params(model, jax.random.key(0))
    whole, _ = run_steps(model, batch, num_steps=1)
    state, _ = run_steps(model, batch, num_steps=1, trained_layers="fc")
    for name, layer in state.params.items():
        for kind, value in layer.items():
            if name.startswith("fc"):
                np.testing.assert_allclose(value, whole.params[name][kind], atol=1e-7)
                assert np.any(value != before[name][kind])
            else:  # These stay the same to the bit: the penalty leaves them alone too.
                np.testing.assert_array_equal(value, before[name][kind])


def test_a_step_is_the_gradient_of_cross_entropy_plus_the_penalty(model, batch):
    """One step from rest moves by -lr (dCE/dw + l2 w) on kernels, by -lr dCE/db on biases."""
    model = model.clone(dropout=0.0)
    optimiser = sgd(0.9, 0.1)
    params = init_params(model, jax.random.key(0))
    recipe = step.Recipe(NORMALISE, seed=0, colour_shift=0.0)
    train_step = step.make_train_step(model, optimiser, recipe)
    state, metrics = jax.jit(train_step)(init_state(params, optimiser), batch, np.float32(0.5))

    def cross_entropy(params):
        images = NORMALISE(jnp.asarray(batch["image"]))
        logits = model.apply({"params": params}, images)[:, 0, 0]
        chosen = jax.nn.log_softmax(logits)[jnp.arange(BATCH), batch["label"]]
        return -chosen.mean()

    loss, grads = jax.jit(jax.value_and_grad(cross_entropy))(params)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    for name, layer in params.items():
        kernel, bias = layer["kernel"], layer["bias"]
        expected = kernel - 0.5 * (grads[name]["kernel"] + 0.1 * kernel)
        np.testing.assert_allclose(state.params[name]["kernel"], expected, atol=1e-6)
        expected = bias - 0.5 * grads[name]["bias"]
        np.testing.assert_allclose(state.params[name]["bias"], expected, atol=1e-6)


def test_remat_changes_neither_loss_nor_gradients(batch):
    """Dropout and colour shift are on. At rate 1 the first momentum is minus the gradients."""
    optimiser = sgd(0.9, 0.0)
    model = VGG("A-LRN", num_classes=7, width=1 / 16, crop_px=32)
    params = init_params(model, jax.random.key(0))

    def moved(remat):
        recipe = step.Recipe(NORMALISE, seed=1, colour_shift=0.1)
        train_step = step.make_train_step(model.clone(remat=remat), optimiser, recipe)
        state = init_state(params, optimiser)
        state, metrics = jax.jit(train_step)(state, batch, np.float32(1))
        return metrics["loss"], jax.tree.leaves(state.opt_state)

    with jax.default_matmul_precision("highest"):
        (loss, grads), (loss_again, grads_again) = moved(False), moved(True)
    np.testing.assert_allclose(loss_again, loss, rtol=1e-6)
    for ours, theirs in zip(grads_again, grads, strict=True):
        assert np.any(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.max(np.abs(theirs)))


def test_each_step_draws_anew(model, batch):
    """At a learning rate of 0 only dropout and colour shift differ between steps."""
    optimiser = sgd(0.9, 0.0)
    recipe = step.Recipe(NORMALISE, seed=1, colour_shift=0.1)
    train_step = jax.jit(step.make_train_step(model, optimiser, recipe))
    state = init_state(init_params(model, jax.random.key(0)), optimiser)
    losses = []
    for _ in range(3):
        state, metrics = train_step(state, batch, np.float32(0))
        losses.append(float(metrics["loss"]))
    assert len(set(losses)) == 3


def test_val_step_ignores_what_fills_up_a_batch(model, batch):
    params = init_params(model, jax.random.key(0))
    val_step = jax.jit(step.make_val_step(model, NORMALISE))
    whole = val_step(params, {**batch, "weight": np.ones(BATCH, np.float32)})
    weight = (np.arange(BATCH) < 5).astype(np.float32)
    part = val_step(params, {**batch, "weight": weight})
    images = NORMALISE(jnp.asarray(batch["image"]))
    scores = jax.jit(model.apply)({"params": params}, images)[:, 0, 0]
    wrong = np.asarray(scores).argmax(-1) != batch["label"]
    assert whole["count"] == BATCH
    assert part["count"] == 5
    assert whole["top1"] == wrong.sum()
    assert part["top1"] == wrong[:5].sum()


def test_bfloat16_sums_gradients_in_float32(batch):
    """A bias's gradient sums over all positions of all images."""
    model = VGG("A", num_classes=7, width=1 / 16, crop_px=64, dropout=0.0)
    params = init_params(model, jax.random.key(0))
    images = np.repeat(np.repeat(batch["image"], 2, 1), 2, 2)
    images = NORMALISE(jnp.asarray(images))

    def gradients(dtype):
        def loss(params):
            scores = model.clone(dtype=dtype).apply({"params": params}, images)
            logits = scores[:, 0, 0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        return jax.jit(jax.grad(loss))(params)

    exact, rounded = gradients(jnp.float32), gradients(jnp.bfloat16)

    def error(name, part):
        ours, theirs = rounded[name][part].ravel(), exact[name][part].ravel()
        return jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs)

    for name in params:  # Summed in bfloat16, conv1_1's bias had 13 times its kernel's error.
        assert error(name, "bias") < 1.5 * error(name, "kernel"), name


def test_bfloat16_scores_are_not_rounded(batch):
    model = VGG("A", num_classes=7, width=1 / 16, crop_px=32, dtype=jnp.bfloat16)
    params = init_params(model, jax.random.key(0))
    images = NORMALISE(jnp.asarray(batch["image"]))
    scores = jax.jit(model.apply)({"params": params}, images)
    assert (scores != scores.astype(jnp.bfloat16).astype(jnp.float32)).mean() > 0.9
