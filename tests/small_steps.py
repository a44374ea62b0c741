"""Helpers for tests that take training steps of a narrow net on a mesh."""

import jax
import numpy as np

from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG, init_params
from vgg_jax.runs.state import init_state
from vgg_jax.training import parallel
from vgg_jax.training.optimiser import sgd
from vgg_jax.training.step import Recipe

BATCH = 32  # 8 devices x 4 micro-batches.
NORMALISE = Normalise((120.0, 110.0, 100.0), 1 / 70)


def narrow_net():
    return VGG("A", num_classes=7, width=1 / 16, crop_px=32)


def random_batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (BATCH, 32, 32, 3), np.uint8),
        "label": rng.integers(0, 7, BATCH, np.int32),
    }


def run_steps(
    model, batch, mesh=(1, 1), num_steps=3, micro_batches=1, trained_layers="all", rate=0.01
):
    data, model_parallel = mesh
    mesh = sharding.make_mesh(jax.devices()[: data * model_parallel], model_parallel=model_parallel)
    optimiser = sgd(0.9, 5e-4, trained_layers)
    train_step = compiled(model, optimiser, mesh, micro_batches, trained_layers)
    state = init_state(init_params(model, jax.random.key(0)), optimiser)
    state = sharding.put_state(state, mesh)
    batch = sharding.put_batch(batch, sharding.split_batch(mesh))
    losses = []
    for _ in range(num_steps):
        state, metrics = train_step(state, batch, np.float32(rate))
        losses.append(float(metrics["loss"]))
    return state, losses


def compiled(model, optimiser, mesh, micro_batches=1, trained_layers="all"):
    recipe = Recipe(
        NORMALISE,
        seed=1,
        colour_shift=0.1,
        micro_batches=micro_batches,
        trained_layers=trained_layers,
    )
    return parallel.train_step(model, optimiser, mesh, recipe)
