"""The checks of the recipe's config keys, alone and against the devices. Needs no JAX."""

import math
from typing import Literal, get_args

from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require, require_choice
from vgg_jax.nets import architectures, trained_layers
from vgg_jax.training import schedules

InitLayers = Literal["all", "all_but_fc8", "preinit"]


def check(c: ConfigDict) -> None:
    """Checks the config keys of the recipe (§3.1).

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    require_choice("init_layers", c.init_layers, get_args(InitLayers))
    net = architectures.layers(c.net, width=c.width, crop_px=c.crop_px)
    trained_layers.check(c.trained_layers, net)
    require(0 <= c.seed < 2**32, f"seed={c.seed} must lie between 0 and 2^32 - 1.")
    require(bool(c.init_from), "init_from is empty. Set it to a run, or to none.")
    _refuse_frozen_at_random(c)
    require(
        0 < c.learning_rate < math.inf,
        f"learning_rate={c.learning_rate} must be a finite number above 0.",
    )
    for key in (
        "num_epochs",
        "batch_size",
        "model_parallel",
        "micro_batches",
        "log_every_steps",
        "checkpoint_every_steps",
    ):
        require(c[key] >= 1, f"{key}={c[key]} must be at least 1.")
    require(c.eval.batch_size >= 1, f"eval.batch_size={c.eval.batch_size} must be at least 1.")
    require(0 <= c.momentum < 1, f"momentum={c.momentum} must lie in [0, 1).")
    for key in ("colour_shift", "l2_penalty"):
        require(0 <= c[key] < math.inf, f"{key}={c[key]} must be 0 or a finite number above it.")
    schedules.refuse_unused_keys(c)
    schedules.from_config(c)  # The schedule checks its own keys.


def _refuse_frozen_at_random(c: ConfigDict) -> None:
    """Checks that each layer that isn't trained comes from the run in init_from."""
    if c.init_from == "none":
        remedy = "Start from a trained net with --config.init_from=WORKDIR, or set"
    elif c.init_layers == "preinit":
        remedy = "Only the layers of A come from the run in init_from: set"
    else:
        require(
            c.init_layers == "all" or trained_layers.is_trained("fc8", c.trained_layers),
            f"trained_layers={c.trained_layers} would leave the new FC8 at random weights. Set "
            f"--config.trained_layers={c.trained_layers},fc8.",
        )
        return
    require(
        c.trained_layers == "all",
        f"trained_layers={c.trained_layers} would leave other layers at random weights. {remedy} "
        "--config.trained_layers=all.",
    )


def check_divides(c: ConfigDict, num_devices: int) -> None:
    """Checks that FC kernels and batches divide evenly over devices and micro-batches.

    Raises:
      UserError: They don't divide evenly; the message names values that do.
    """
    net = architectures.layers(c.net, width=c.width, crop_px=c.crop_px)
    choices = architectures.model_parallel_choices(net, num_devices)
    require(
        c.model_parallel in choices,
        f"model_parallel={c.model_parallel} must divide the number of devices, {num_devices}, and "
        "the outputs of FC6 and FC7. "
        f"Set --config.model_parallel to {' or '.join(map(str, choices))}.",
    )
    for key, value, micro_batches in (
        ("batch_size", c.batch_size, c.micro_batches),
        ("eval.batch_size", c.eval.batch_size, 1),
    ):
        parts = num_devices * micro_batches
        if value % parts:
            nearest = max(1, round(value / parts)) * parts
            each = f" with {micro_batches} micro-batches each" if micro_batches > 1 else ""
            raise UserError(
                f"{key}={value} doesn't divide over {num_devices} devices{each}. "
                f"Set --config.{key}={nearest}."
            )
