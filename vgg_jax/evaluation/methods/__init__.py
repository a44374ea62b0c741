"""The methods by which a net is tested (§3.2), each an object in a file of its own.

A method's name is its file's, which ends in `METHOD`. A user's own is MODULE:ATTRIBUTE. This module
needs no JAX.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vgg_jax.errors import UserError, require_choice
from vgg_jax.system import by_name

if TYPE_CHECKING:
    from vgg_jax.evaluation.method import Method

# Names for the average of several methods' posteriors.
AVERAGES: Mapping[str, tuple[str, ...]] = {"both": ("dense", "multicrop")}


def names() -> tuple[str, ...]:
    """Returns the names of all methods here, averages last."""
    return (*by_name.names(__name__), *AVERAGES)


def check(key: str, name: str, *others: str) -> None:
    """Checks that there is a method of that name; imports the module of a user's own.

    Args:
      key: What names the method, for the message: "eval.method" or "--method".
      name: The name.
      others: What the key may be besides.

    Raises:
      UserError: There is none.
    """
    if by_name.is_own(name):
        _own(key, name)
    else:
        require_choice(key, name, (*names(), *others, "MODULE:ATTRIBUTE"))


def singles(name: str) -> tuple[str, ...]:
    """Returns the names of the methods whose posteriors a method averages: itself, or several."""
    return AVERAGES.get(name, (name,))


def single(name: str) -> "Method":
    """Returns a method that is no average; JAX is imported with it.

    Raises:
      UserError: There is no such method.
    """
    if by_name.is_own(name):
        return _own("method", name)
    require_choice("method", name, by_name.names(__name__))
    return importlib.import_module(f"{__name__}.{name}").METHOD


def _own(key: str, name: str) -> "Method":
    from vgg_jax.evaluation.method import Method

    found = by_name.load(key, name)
    if not isinstance(found, Method):
        raise UserError(f"{key}={name} is no vgg_jax.evaluation.method.Method.")
    return found
