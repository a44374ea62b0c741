"""This code's training step, or its forward pass as evaluation computes it."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmark.case import Case
from launch.benchmark.sides import process
from vgg_jax.evaluation.inference import Inference
from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG
from vgg_jax.runs.state import TrainState, init_state
from vgg_jax.training import parallel
from vgg_jax.training.optimiser import sgd
from vgg_jax.training.step import Recipe


def measure(
    case: dict[str, Any], part: Literal["step", "forward"], timing: dict[str, Any]
) -> dict[str, Any]:
    """Times one case on one device.

    Args:
      case: The fields of a `Case`.
      part: The whole training step, or the forward pass without dropout.
      timing: See `process.timed`.
    """
    call = {"step": training_step, "forward": forward}[part](Case(**case))
    warm_up_s, seconds = process.timed(lambda: jax.block_until_ready(call()), **timing)
    peak_bytes = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {"seconds": seconds, "warm_up_s": warm_up_s, "peak_bytes": peak_bytes}


def training_step(case: Case) -> Callable[[], tuple[Any, Any]]:
    """Returns a function that takes the next step, and returns the parameters and the loss."""
    step, state, mesh = step_and_state(case)
    images, labels = case.random_batch()
    batch = sharding.put_batch({"image": images, "label": labels}, sharding.split_batch(mesh))

    def call() -> tuple[Any, Any]:
        nonlocal state
        state, metrics = step(state, batch, np.float32(case.learning_rate))
        return state.params, metrics["loss"]

    return call


def step_and_state(case: Case) -> tuple[jax.stages.Wrapped, TrainState, jax.sharding.Mesh]:
    """Returns the compiled step, the state before the first step, and the device as a mesh."""
    inference = untrained(case)
    optimiser = sgd(case.momentum, case.l2_penalty)
    recipe = Recipe(inference.normalise, seed=0, colour_shift=case.colour_shift)
    step = parallel.train_step(inference.model, optimiser, inference.mesh, recipe)
    state = sharding.put_state(init_state(inference.params, optimiser), inference.mesh)
    return step, state, inference.mesh


def forward(case: Case) -> Callable[[], jax.Array]:
    """Returns a function that computes the class scores of the batch."""
    inference = untrained(case)
    images = jax.device_put(case.random_batch()[0], sharding.split_batch(inference.mesh))
    return lambda: inference.call(Inference.score_maps, images)[:, 0, 0]


def untrained(case: Case) -> Inference:
    """Returns the case's net on one device, with its first parameters."""
    mesh = sharding.make_mesh(jax.devices()[:1])
    return Inference(
        model=VGG(
            case.net,
            num_classes=case.num_classes,
            width=case.width,
            crop_px=case.crop_px,
            dropout=case.dropout,
            dtype=jnp.dtype(case.dtype),
        ),
        params=sharding.put_replicated(case.params(), mesh),
        mesh=mesh,
        normalise=Normalise(tuple(case.mean_rgb), case.input_scale),
    )


if __name__ == "__main__":
    process.run(measure, without=("torch",))
