"""The state that training changes from step to step, and its description."""

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from vgg_jax.nets import sharding
from vgg_jax.nets.vgg import VGG, Params, init_params

# JAX's descriptions of an array, which may take its place.
Placeholder = jax.ShapeDtypeStruct | jax.sharding.Sharding | jax.stages.ArgInfo | None


@flax.struct.dataclass
class TrainState:
    """The state that a training step changes, or a description of it.

    Attributes:
      step: The number of steps done.
      params: See `vgg.init_params`.
      opt_state: See `optimiser.sgd`.
    """

    step: Int[Array, ""] | Placeholder
    params: Params | Mapping[str, Mapping[str, Placeholder]]
    opt_state: optax.OptState


def init_state(params: Params, optimiser: optax.GradientTransformation) -> TrainState:
    """Starts training from given parameters."""
    # With jit this is one program. Without it, JAX would compile one for each shape.
    return TrainState(jnp.zeros((), jnp.int32), params, jax.jit(optimiser.init)(params))


def abstract_state(
    model: VGG, optimiser: optax.GradientTransformationExtraArgs, mesh: Mesh
) -> TrainState:
    """Describes a training state: shapes, dtypes, and where each array lies on the mesh."""
    state = jax.eval_shape(lambda: init_state(init_params(model, jax.random.key(0)), optimiser))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        state,
        sharding.of_state(state, mesh),
    )
