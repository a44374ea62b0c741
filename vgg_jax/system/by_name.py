"""Finds the objects that a config names, in files of this project or in a user's own module.

A package of such objects has one file NAME.py for each, which ends in the attribute that holds the
object. A user's own object is named MODULE:ATTRIBUTE. Python must find the module, for instance in
the current folder.
"""

import importlib
import importlib.util
import pkgutil
import re
from typing import Any

from vgg_jax.errors import UserError


def names(package: str) -> tuple[str, ...]:
    """Returns the names of a package's files, in alphabetical order, without importing any."""
    folders = importlib.util.find_spec(package).submodule_search_locations
    return tuple(sorted(file.name for file in pkgutil.iter_modules(folders)))


def is_own(name: str) -> bool:
    """Returns whether a name has the form MODULE:ATTRIBUTE of a user's own object."""
    return re.fullmatch(r"[\w.]+:[A-Za-z_]\w*", name) is not None


def load(key: str, name: str) -> Any:
    """Imports a user's module and returns the object that is named.

    Args:
      key: The config key or the flag that names the object, for messages.
      name: MODULE:ATTRIBUTE.

    Raises:
      UserError: There is no such module, or it has no such attribute.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # The module exists, but something that it imports doesn't.
        raise UserError(
            f"{key}={name}: there is no module {error.name}. Python looks for it in the current "
            "folder, in PYTHONPATH and among the installed packages."
        ) from error
    if not hasattr(module, attribute):
        raise UserError(f"{key}={name}: {module.__file__} has no attribute {attribute}.")
    return getattr(module, attribute)
