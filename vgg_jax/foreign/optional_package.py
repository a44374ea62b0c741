"""The packages that only some formats of weight files need."""

import importlib.util
import pathlib

from vgg_jax.errors import require


def require_package(name: str, path: pathlib.Path, used: str = "read") -> None:
    """Checks that a package of the extra `weights` is installed.

    Args:
      name: The package.
      path: The weight file, for the message.
      used: What the package is needed for: the file is "read" or "written".

    Raises:
      UserError: The package isn't installed.
    """
    require(
        importlib.util.find_spec(name) is not None,
        f"{path} can be {used} only with {name}, which isn't installed: "
        "pip install -e '.[weights]'.",
    )
