"""One training step and one validation step: pure functions of explicit state."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from vgg_jax.nets import pixels
from vgg_jax.nets.label_rank import label_rank
from vgg_jax.nets.trained_layers import is_trained
from vgg_jax.nets.vgg import VGG, Params
from vgg_jax.runs.state import TrainState

Batch = Mapping[str, Array]
Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training step, apart from the net and the optimiser (§3.1).

    Attributes:
      normalise: Turns pixels into the net's input.
      seed: Decides dropout and colour shift.
      colour_shift: Standard deviation of the colour shift's coefficients; 0 for no shift.
      micro_batches: Equal parts of the batch, whose gradients are computed one after another and
        added up. More parts take less memory for activations, and change the step's rounding only.
      trained_layers: See `trained_layers.is_trained`. No gradient is computed for the other
        layers, and no backward pass for those below the lowest trained one.
    """

    normalise: pixels.Normalise
    seed: int
    colour_shift: float
    micro_batches: int = 1
    trained_layers: str = "all"


def make_train_step(
    model: VGG, optimiser: optax.GradientTransformationExtraArgs, recipe: Recipe
) -> Callable[[TrainState, Batch, Float[Array, ""]], tuple[TrainState, Metrics]]:
    """Makes the function train_step(state, batch, learning_rate) -> (state, metrics) (§3.1).

    Args:
      model: The net.
      optimiser: See `optimiser.sgd`.
      recipe: The other settings of the step.

    Returns:
      A function whose batch is {"image": uint8, "label": int32}. Its metrics are the batch's mean
      "loss" (cross entropy, without the L2 penalty) and top-1 "error" in percent, with dropout on.
    """

    def train_step(
        state: TrainState, batch: Batch, learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        size = batch["label"].shape[0]
        batch = {**batch, "key": pixels.example_keys(recipe.seed, state.step, size)}
        gradient = jax.value_and_grad(functools.partial(_sums, model, recipe), has_aux=True)

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient(state.params, part)), None

        if recipe.micro_batches == 1:
            total = gradient(state.params, batch)
        else:
            zero = ((0.0, 0.0), jax.tree.map(jnp.zeros_like, state.params))
            total, _ = jax.lax.scan(add, zero, _split(batch, recipe.micro_batches))
        (loss, errors), grads = jax.tree.map(lambda x: x / size, total)
        updates, opt_state = optimiser.update(
            grads, state.opt_state, state.params, learning_rate=learning_rate
        )
        params = optax.apply_updates(state.params, updates)
        return (
            TrainState(state.step + 1, params, opt_state),
            {"loss": loss, "error": 100.0 * errors},
        )

    return train_step


def _sums(
    model: VGG, recipe: Recipe, params: Params, part: Batch
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the sum of cross entropies and the number of errors of a part of the batch."""
    images = part["image"].astype(jnp.float32)
    if recipe.colour_shift:
        keys = _keys_for(part["key"], 0)
        images = pixels.colour_shift(images, keys, recipe.colour_shift)
    params = {
        name: layer if is_trained(name, recipe.trained_layers) else jax.lax.stop_gradient(layer)
        for name, layer in params.items()
    }
    images, dropout_keys = recipe.normalise(images), _keys_for(part["key"], 1)
    logits = model.apply({"params": params}, images, dropout_keys)[:, 0, 0]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, part["label"])
    return losses.sum(), (logits.argmax(-1) != part["label"]).sum().astype(jnp.float32)


def _split(batch: Batch, micro_batches: int) -> Batch:
    # A part has every n-th example, so that each device already holds an equal share of it.
    return jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(-1, micro_batches, *x.shape[1:]), 1, 0), dict(batch)
    )


def _keys_for(keys: Array, use: int) -> Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, use)


def make_val_step(model: VGG, normalise: pixels.Normalise) -> Callable[[Params, Batch], Metrics]:
    """Makes the function val_step(params, batch) -> sums over the batch's images of weight 1.

    Args:
      model: The net.
      normalise: Turns pixels into the net's input.

    Returns:
      A function whose batch is {"image", "label", "weight"}. Its metrics are the number of images
      ("count"), the sum of their cross entropies ("loss"), and the numbers of images whose label
      isn't the first class ("top1") or among the first five ("top5"). If classes have equal scores,
      the one with the lower index ranks higher.
    """

    def val_step(params: Params, batch: Batch) -> Metrics:
        images = normalise(batch["image"])
        logits = model.apply({"params": params}, images)[:, 0, 0]
        label, weight = batch["label"], batch["weight"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        rank = label_rank(logits, label)
        return {
            "count": weight.sum(),
            "loss": (losses * weight).sum(),
            "top1": ((rank >= 1) * weight).sum(),
            "top5": ((rank >= 5) * weight).sum(),
        }

    return val_step
