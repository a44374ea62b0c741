"""The methods of evaluation (§3.2), one per file.

A method has the name of its file, which defines it as `METHOD`. A user's own method is named
MODULE:NAME. This module needs no JAX.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vgg_jax.errors import require
from vgg_jax.system import by_name

if TYPE_CHECKING:
    from vgg_jax.evaluation.method import Method

# Names for the average of several methods' posteriors.
AVERAGES: Mapping[str, tuple[str, ...]] = {"both": ("dense", "multicrop")}


def names() -> tuple[str, ...]:
    """Returns the names of all methods of this package, the averages last."""
    return (*by_name.names(__name__), *AVERAGES)


def check(key: str, name: str, *others: str) -> None:
    """Checks that there is a method of that name. A user's own is imported.

    Args:
      key: The config key or flag that names the method, for the message: "eval.method" or
        "--method".
      name: The name of the method.
      others: Other values that the key may have.

    Raises:
      UserError: There is no such method.
    """
    by_name.require_known(key, name, (*names(), *others))
    if by_name.is_own(name):
        single(name, key)


def singles(name: str) -> tuple[str, ...]:
    """Returns the single methods whose posteriors a method averages; a single one is its own."""
    return AVERAGES.get(name, (name,))


def single(name: str, key: str = "method") -> "Method":
    """Imports a single method, which is no average, and JAX with it.

    Args:
      name: The name of the method.
      key: The config key or flag that names the method, for the message.

    Raises:
      UserError: There is no such method.
    """
    by_name.require_known(key, name, by_name.names(__name__))
    found = by_name.load(key, name, __name__, "METHOD")

    from vgg_jax.evaluation.method import Method

    message = f"{key}={name} must be a Method of vgg_jax/evaluation/method.py, not {found!r}."
    require(isinstance(found, Method), message)
    return found
