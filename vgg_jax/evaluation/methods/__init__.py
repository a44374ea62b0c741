"""The methods by which a net is tested (§3.2), each an object in a file of its own.

A method has the name of its file, which ends with `METHOD`. A user's own is MODULE:NAME. This
module needs no JAX.
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
    by_name.require_known(key, name, (*names(), *others))
    if by_name.is_own(name):
        single(name, key)


def singles(name: str) -> tuple[str, ...]:
    """Returns the names of the methods whose posteriors a method averages: itself, or several."""
    return AVERAGES.get(name, (name,))


def single(name: str, key: str = "method") -> "Method":
    """Returns a method that is no average; JAX is imported with it.

    Args:
      name: The name.
      key: What names the method, for the message.

    Raises:
      UserError: There is no such method.
    """
    by_name.require_known(key, name, by_name.names(__name__))
    found = by_name.load(key, name, __name__, "METHOD")

    from vgg_jax.evaluation.method import Method

    message = f"{key}={name} must be a Method of vgg_jax/evaluation/method.py, not {found!r}."
    require(isinstance(found, Method), message)
    return found
