"""The config files of this project's runs, loaded by their path."""

import functools
import importlib.util
import pathlib
import types

from ml_collections import ConfigDict

# The files lie next to the package, in a checkout. They are never imported as a package `configs`,
# because a user's own folder of that name would be imported instead.
FOLDER = pathlib.Path(__file__).parents[2] / "configs"

MINI = "mini_"  # configs/mini.py:NAME is the run mini_NAME.


def names(folder: pathlib.Path = FOLDER) -> list[str]:
    """Lists the runs that have a file in a folder of config files."""
    return sorted(path.stem for path in folder.glob("[a-z]*.py") if path.stem != "mini")


def folder_of(named: str) -> pathlib.Path:
    """Returns the folder of the config files to which one belongs.

    A workdir's own config belongs to this project's.

    Args:
      named: The config file, as --config names it.
    """
    folder = pathlib.Path(named.partition(":")[0]).parent
    return FOLDER if folder.resolve() in (FOLDER, pathlib.Path(__file__).parent) else folder


@functools.cache
def load(path: pathlib.Path) -> types.ModuleType:
    """Runs a config file and returns its module, which isn't added to `sys.modules`.

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
    """Returns the module configs/mini.py, which shrinks the other configs."""
    return load(FOLDER / "mini.py")


def of_run(name: str, folder: pathlib.Path = FOLDER) -> tuple[str, ConfigDict] | None:
    """Finds the config of a run by the run's name.

    Args:
      name: The run's name.
      folder: A folder to search before the files of this project.

    Returns:
      The value of --config, and the config; None if no file makes that run.
    """
    original = name.removeprefix(MINI)
    for place in dict.fromkeys((folder, FOLDER)):
        shown, mini_file = "configs" if place == FOLDER else str(place), place / "mini.py"
        if name in names(place):
            return f"{shown}/{name}.py", load(place / f"{name}.py").get_config()
        if original != name and original in names(place) and mini_file.exists():
            return f"{shown}/mini.py:{original}", load(mini_file).get_config(original)
    return None
