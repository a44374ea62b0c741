"""Finds the object that a config names: one of this project's, or a user's own.

Data sources, methods of evaluation and schedules are packages with a file NAME.py for each object.
The file ends with the attribute that holds the object. A user's own object is MODULE:NAME, where
Python finds the module, for instance in the current folder.
"""

import hashlib
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import sys
from types import ModuleType
from typing import Any

from vgg_jax.errors import UserError, require_choice


def names(package: str) -> tuple[str, ...]:
    """Returns the names of a package's files, in alphabetical order, without importing them."""
    folders = importlib.util.find_spec(package).submodule_search_locations
    return tuple(sorted(file.name for file in pkgutil.iter_modules(folders)))


def modules(package: str) -> list[ModuleType]:
    """Imports a package's files, in alphabetical order."""
    return [importlib.import_module(f"{package}.{name}") for name in names(package)]


def is_own(name: str) -> bool:
    """Returns whether a name is a user's MODULE:NAME."""
    own = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
    return isinstance(name, str) and re.fullmatch(own, name) is not None


def require_known(key: str, name: str, known: tuple[str, ...]) -> None:
    """Checks that a name is known or a user's own.

    Args:
      key: The key of the config, or the flag, that has the name as its value.
      name: The value.
      known: The names of this project.

    Raises:
      UserError: It is neither.
    """
    if not is_own(name):
        require_choice(key, name, (*known, "MODULE:NAME"))


def load(key: str, name: str, package: str, attribute: str) -> Any:
    """Returns the object of a name; imports its module.

    Args:
      key: The key of the config, or the flag, that has the name as its value.
      name: A file of the package, or a user's MODULE:NAME.
      package: The package of this project's objects.
      attribute: The attribute of each file that holds its object.

    Raises:
      UserError: The user's module isn't there, or has nothing of that name.
    """
    if not is_own(name):
        return getattr(importlib.import_module(f"{package}.{name}"), attribute)
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # The module is there, and something that it imports is not.
        raise UserError(
            f"{key}={name}: there is no module {error.name}. Python looks for it in the current "
            "folder, in PYTHONPATH and among the installed packages."
        ) from error
    if not hasattr(module, attribute):
        raise UserError(f"{key}={name}: the module {module_name} has no attribute {attribute}.")
    return getattr(module, attribute)


def code_digest(name: str) -> str:
    """Returns the SHA-256 of the file of a user's module, which `load` has imported."""
    file = sys.modules[name.partition(":")[0]].__file__
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
