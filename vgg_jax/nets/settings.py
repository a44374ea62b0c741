"""Checks of the config keys that describe a net, and values derived from them. Needs no JAX."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require, require_choice
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import DType

Init = Literal["normal", "glorot", "he"]
OddEdges = Literal["floor", "ceil"]  # How pooling treats an odd last row or column.

# A checkpoint fits a config if both agree in these keys and in the input scale. A new key that
# changes the parameters' shapes or what they compute belongs here; `from_config.model` then passes
# it to the field of `vgg.VGG` that has its name.
ARCHITECTURE_KEYS = ("net", "width", "crop_px")

# About one over the pixels' standard deviation.
UNIT_VARIANCE_SCALE = 1 / 70

_MOST_PARAMETERS = 2**36  # A quarter of a terabyte in float32.


def check(c: ConfigDict) -> None:
    """Checks the net, its initialisation and its arithmetic.

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    try:
        net = architectures.layers(c.net, width=c.width, crop_px=c.crop_px)
    except ValueError as error:
        raise UserError(str(error)) from error
    count = architectures.num_parameters(net)
    require(
        count <= _MOST_PARAMETERS,
        f"width={c.width} and crop_px={c.crop_px} give net {c.net} {count:.0e} parameters, which "
        "no device holds. Lower --config.width (1 is the paper's) or --config.crop_px (224 is).",
    )
    require_choice("dtype", c.dtype, get_args(DType))
    require_choice("init", c.init, get_args(Init))
    require(
        0 <= c.input_scale < math.inf,
        f"input_scale={c.input_scale} must be a number above 0, or 0 for the scale that suits "
        "init.",
    )
    require(
        0 < c.init_sigma < math.inf, f"init_sigma={c.init_sigma} must be a finite number above 0."
    )
    require(0 <= c.dropout < 1, f"dropout={c.dropout} must lie in [0, 1).")


def same_mean(one: Sequence[int | float], other: Sequence[int | float]) -> bool:
    """Returns whether two means of RGB, 0-255, are the same except for rounding."""
    return np.allclose(one, other, rtol=1e-6, atol=0)


def input_scale(c: ConfigDict) -> float:
    """Returns the factor by which the mean-subtracted input is multiplied.

    An input_scale of 0 means 1 with "normal", the paper's initialisation. With the others it means
    1/70: these initialisations keep the variance from layer to layer, so a net's scores would
    otherwise be as large as its pixels. A run that starts from one with another scale saves that
    scale in its config: see `runs.net_input`.
    """
    return c.input_scale or (1.0 if c.init == "normal" else UNIT_VARIANCE_SCALE)
