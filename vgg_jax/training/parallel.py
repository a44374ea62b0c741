"""The training and the validation step, compiled for a mesh of devices."""

from collections.abc import Callable

import jax
import optax
from jax.sharding import Mesh

from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG
from vgg_jax.runs.state import abstract_state
from vgg_jax.training import step


def train_step(
    model: VGG,
    optimiser: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
    recipe: step.Recipe,
) -> jax.stages.Wrapped:
    """Compiles `step.make_train_step`'s step, which donates the state, for a mesh.

    Args:
      model: The net.
      optimiser: See `optimiser.sgd`.
      mesh: See `sharding.make_mesh`. The result is the same for any, but for rounding.
      recipe: The rest of the step.

    Returns:
      train_step(state, batch, learning_rate) -> (state, metrics). The state lies where
      `abstract_state` says, the batch as `sharding.split_batch`.
    """
    state = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, optimiser, mesh))
    copied = sharding.replicated(mesh)
    return jax.jit(
        step.make_train_step(_placed(model, mesh), optimiser, recipe),
        donate_argnums=0,
        in_shardings=(state, sharding.split_batch(mesh), copied),
        out_shardings=(state, copied),
    )


def val_step(model: VGG, mesh: Mesh, normalise: Normalise) -> Callable[..., step.Metrics]:
    """Compiles `step.make_val_step`'s step, for parameters that lie as in training."""
    return jax.jit(
        step.make_val_step(_placed(model, mesh), normalise),
        out_shardings=sharding.replicated(mesh),
    )


def _placed(model: VGG, mesh: Mesh) -> VGG:
    return model.clone(place=sharding.fc_place(mesh))
