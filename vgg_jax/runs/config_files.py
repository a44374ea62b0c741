"""The config files of this project's runs, loaded by their path."""

import functools
import importlib.util
import pathlib
import types

from ml_collections import ConfigDict

# The files lie beside the package, in a checkout. They are never imported as a package `configs`:
# a user's own folder of that name would take its place.
FOLDER = pathlib.Path(__file__).parents[2] / "configs"

MINI = "mini_"  # configs/mini.py:NAME is the run mini_NAME.


def names(folder: pathlib.Path = FOLDER) -> list[str]:
    """Lists the runs that have a file in a folder of config files."""
    return sorted(path.stem for path in folder.glob("[a-z]*.py") if path.stem != "mini")


@functools.cache
def load(path: pathlib.Path) -> types.ModuleType:
    """Runs a config file and returns its module, which no import finds.

    Raises:
      ImportError: There is no such file.
    """
    spec = importlib.util.spec_from_file_location(f"vgg_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        raise ImportError(f"There is no config file {path}.") from error
    return module


def mini() -> types.ModuleType:
    """Returns configs/mini.py, which shrinks the others."""
    return load(FOLDER / "mini.py")


def of_run(name: str) -> tuple[str, ConfigDict] | None:
    """Finds the config of a run of this project by the run's name.

    Returns:
      What --config takes, and the config; None where no file in configs/ makes that run.
    """
    known = names()
    if name.startswith(MINI) and name.removeprefix(MINI) in known:
        original = name.removeprefix(MINI)
        return f"configs/mini.py:{original}", mini().get_config(original)
    if name in known:
        return f"configs/{name}.py", load(FOLDER / f"{name}.py").get_config()
    return None
