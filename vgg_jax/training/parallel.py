"""The training and the validation step, compiled for a mesh of devices."""

from collections.abc import Callable

import jax
import optax
from jax.sharding import Mesh

from vgg_jax.nets import compiler_options, sharding
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
    """Compiles the step of `step.make_train_step` for a mesh. The step's state is donated.

    Args:
      model: The net.
      optimiser: See `optimiser.sgd`.
      mesh: See `sharding.make_mesh`. Every mesh gives the same result, except for rounding.
      recipe: The other settings of the step.

    Returns:
      train_step(state, batch, learning_rate) -> (state, metrics). The state is sharded as in
      `abstract_state`, the batch as in `sharding.split_batch`.
    """
    state = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, optimiser, mesh))
    copied = sharding.replicated(mesh)
    return jax.jit(
        step.make_train_step(_placed(model, mesh), optimiser, recipe),
        donate_argnums=0,
        in_shardings=(state, sharding.split_batch(mesh), copied),
        out_shardings=(state, copied),
        compiler_options=compiler_options.for_mesh(mesh, "training"),
    )


def val_step(model: VGG, mesh: Mesh, normalise: Normalise) -> Callable[..., step.Metrics]:
    """Compiles the step of `step.make_val_step`, for parameters that are sharded as in training."""
    return jax.jit(
        step.make_val_step(_placed(model, mesh), normalise),
        out_shardings=sharding.replicated(mesh),
        compiler_options=compiler_options.for_mesh(mesh, "training"),
    )


def _placed(model: VGG, mesh: Mesh) -> VGG:
    return model.clone(place=sharding.fc_place(mesh))
