"""SGD as Caffe has it, and the plateau rule (§3.1)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

TrainedLayers = Literal["all", "fc"]


def is_trained(layer: str, trained_layers: TrainedLayers) -> bool:
    """Tells whether a layer learns: "all" do, or FC6 to FC8 alone ("fc")."""
    return trained_layers == "all" or layer.startswith("fc")


def sgd(
    momentum: float, l2_penalty: float, trained_layers: TrainedLayers = "all"
) -> optax.GradientTransformationExtraArgs:
    """Mini-batch SGD with momentum and a coupled L2 penalty: v <- mu v - lr (g + l2 w), w <- w + v.

    This is Caffe's order. The penalty joins the gradient before momentum, and the rate multiplies
    the gradient before it enters the velocity, so that the velocity keeps the rate that it was
    built with when the rate drops (in PyTorch's order it would shrink at once). At a constant rate
    both orders give the same weights.

    Args:
      momentum: mu; 0.9 in the paper.
      l2_penalty: 5e-4 in the paper. On kernels only, not on biases.
      trained_layers: See `is_trained`; the others aren't penalised.

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


@dataclasses.dataclass(frozen=True)
class PlateauRule:
    """When the learning rate drops and when training ends (§3.1).

    Attributes:
      patience_epochs: Epochs without an improvement after which the rate drops.
      min_improvement: In points (percent) of top-1 error, below the best error seen.
      factor: What a drop multiplies the rate by.
      last_rate: The lowest rate. A plateau at it ends training.
    """

    patience_epochs: int = 5
    min_improvement: float = 0.1
    factor: float = 0.1
    last_rate: float = 1e-5


@dataclasses.dataclass(frozen=True)
class PlateauState:
    """What the plateau rule remembers from epoch to epoch.

    Attributes:
      learning_rate: Of the next epoch.
      best_error: Lowest top-1 validation error, in percent. It persists across drops.
      epochs_since_best: Epochs since that error, or since the last drop.
      ended: Training is over.
    """

    learning_rate: float
    best_error: float = 100.0
    epochs_since_best: int = 0
    ended: bool = False


def plateau_step(rule: PlateauRule, state: PlateauState, error: float) -> PlateauState:
    """Takes in an epoch's top-1 validation error (percent) and decides the next epoch's rate."""
    # The tolerance keeps an improvement of exactly 0.1 points one in floating point.
    if error <= state.best_error - rule.min_improvement + 1e-9:
        return dataclasses.replace(state, best_error=error, epochs_since_best=0)
    epochs = state.epochs_since_best + 1
    if epochs < rule.patience_epochs:
        return dataclasses.replace(state, epochs_since_best=epochs)
    rate = state.learning_rate * rule.factor
    if rate < rule.last_rate * (1 - 1e-6):
        return dataclasses.replace(state, epochs_since_best=epochs, ended=True)
    return dataclasses.replace(state, learning_rate=rate, epochs_since_best=0)
