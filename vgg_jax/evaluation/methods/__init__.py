"""The methods by which the paper tests a net (§3.2), each an object in a file of its own.

A new one is a file NAME.py here with a `METHOD`, and its name below. This module needs no JAX.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vgg_jax.errors import require_choice

if TYPE_CHECKING:
    from vgg_jax.evaluation.method import Method

# The single methods whose posteriors each averages: itself, or several.
METHODS: Mapping[str, tuple[str, ...]] = {
    "dense": ("dense",),
    "multicrop": ("multicrop",),
    "both": ("dense", "multicrop"),
}


def singles(name: str) -> tuple[str, ...]:
    """Returns the names of the single methods whose posteriors a method averages.

    Raises:
      UserError: There is no such method.
    """
    require_choice("method", name, tuple(METHODS))
    return METHODS[name]


def single(name: str) -> "Method":
    """Returns a single method; JAX is imported with it.

    Raises:
      UserError: There is no such method, or it is an average of several.
    """
    names = tuple(each for each, averaged in METHODS.items() if averaged == (each,))
    require_choice("method", name, names)
    return importlib.import_module(f"{__name__}.{name}").METHOD
