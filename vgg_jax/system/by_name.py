"""What a config names: an object in a file of this project, or in a user's own module.

A package of such objects has a file NAME.py for each, which ends in the attribute that holds it. A
user's own is MODULE:ATTRIBUTE, where Python finds the module: in the current folder, for instance.
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
    """Tells whether a name is a user's MODULE:ATTRIBUTE."""
    return re.fullmatch(r"[\w.]+:[A-Za-z_]\w*", name) is not None


def load(key: str, name: str) -> Any:
    """Returns a user's object; imports its module.

    Args:
      key: The key of the config or the flag that names it, for messages.
      name: MODULE:ATTRIBUTE.

    Raises:
      UserError: There is no such module, or nothing of that name in it.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # The module is there, and something that it imports is not.
        raise UserError(
            f"{key}={name}: there is no module {error.name}. Python looks for it in the current "
            "folder, in PYTHONPATH and among what is installed."
        ) from error
    if not hasattr(module, attribute):
        raise UserError(f"{key}={name}: {module.__file__} has no {attribute}.")
    return getattr(module, attribute)
