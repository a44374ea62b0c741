"""SGD as in Caffe (§3.1)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from vgg_jax.nets.trained_layers import is_trained


def sgd(
    momentum: float, l2_penalty: float, trained_layers: str = "all"
) -> optax.GradientTransformationExtraArgs:
    """Returns SGD with momentum and a coupled L2 penalty: v <- mu v - lr (g + l2 w), w <- w + v.

    This is Caffe's order. The penalty is added to the gradient before momentum, and the rate
    multiplies the gradient before it enters the velocity. When the rate drops, the velocity thus
    keeps the rate that it was built with (in PyTorch's order, the next update would shrink at
    once). At a constant rate both orders give the same weights.

    Args:
      momentum: mu; 0.9 in the paper.
      l2_penalty: l2; 5e-4 in the paper. It applies to kernels only, not to biases.
      trained_layers: See `is_trained`. The other layers aren't penalised.

    Returns:
      A transformation whose `update` takes the rate: `update(grads, state, params,
      learning_rate=...)`.
    """

    def penalised(params: optax.Params) -> optax.Params:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: path[1].key == "kernel" and is_trained(path[0].key, trained_layers),
            params,
        )

    return optax.chain(
        optax.add_decayed_weights(l2_penalty, mask=penalised),
        _scale_by_given_rate(),
        optax.trace(decay=momentum),
    )


def _scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        learning_rate: Float[Array, ""] | float,
        **extra_args: object,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra_args
        return jax.tree.map(lambda g: -jnp.asarray(learning_rate, g.dtype) * g, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
