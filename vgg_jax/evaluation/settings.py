"""Checks of the evaluation's config keys, and values derived from them. Needs no JAX."""

import numbers
from collections.abc import Iterable, Sequence
from typing import get_args

from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require, require_choice
from vgg_jax.evaluation import methods, restriction
from vgg_jax.nets.architectures import DType
from vgg_jax.nets.settings import OddEdges
from vgg_jax.runs import saved_steps


def check(c: ConfigDict) -> None:
    """Checks the config keys of the evaluation (§3.2).

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    if c.eval.method != "none":
        methods.check("eval.method", c.eval.method, "none")
    require_choice("eval.classes", c.eval.classes, get_args(restriction.Classes))
    restriction.Restriction.from_config(c).check_choice()
    require_choice("eval.checkpoint", c.eval.checkpoint, get_args(saved_steps.Which))
    require_choice("eval.pooling", c.eval.pooling, get_args(OddEdges))
    require_choice("eval.dtype", c.eval.dtype, get_args(DType))
    for key in ("batch_px", "save_every_s"):
        require(c.eval[key] >= 0, f"eval.{key}={c.eval[key]} must be 0 or above.")
    check_scales(test_scales(c), c.crop_px, "eval.scales")


def test_scales(c: ConfigDict) -> tuple[int, ...]:
    """Returns the test scales Q in px: eval.scales, or val_scale if these are empty."""
    return tuple(c.eval.scales) or (c.val_scale,)


def listed(scales: Iterable[int]) -> tuple[int, ...]:
    """Returns test scales that a caller gave, as a tuple.

    Raises:
      UserError: They are a single number, a string, or an array of another rank than 1.
    """
    is_list = isinstance(scales, Iterable) and not isinstance(scales, str)
    require(
        is_list and getattr(scales, "ndim", 1) == 1,
        f"scales={scales!r} must be a list of whole numbers, also for a single one: scales=[256].",
    )
    return tuple(scales)


def check_scales(scales: Sequence[int], crop_px: int, key: str = "scales") -> None:
    """Checks test scales (§3.2).

    Args:
      scales: The test scales Q in px.
      crop_px: The side of the net's crop in px.
      key: The config key or argument that holds the scales, for the message.

    Raises:
      UserError: A scale is below the crop, is not a whole number of px, or is given twice.
    """
    require(
        all(isinstance(q, numbers.Integral) for q in scales) and len(set(scales)) == len(scales),
        f"{key}={','.join(map(repr, scales))} must be whole numbers, each once, for example "
        "256,384,512.",
    )
    below = [str(scale) for scale in scales if scale < crop_px]
    require(
        not below,
        f"The test scale Q={', '.join(below)} is below the net's crop of {crop_px} px (§3.2). "
        f"Choose scales of {crop_px} or more.",
    )


def parse_scales(scales: Sequence[str] | None) -> tuple[int, ...]:
    """Returns a command's --scales as numbers; empty if it isn't given.

    Raises:
      UserError: A scale is not a whole number above 0, or is given twice.
    """
    parsed = [int(scale) if scale.isdecimal() else 0 for scale in scales or ()]
    if 0 in parsed or len(set(parsed)) < len(parsed):
        raise UserError("--scales takes whole numbers, each once: --scales=256,384,512.")
    return tuple(parsed)
