"""The flag --config of ml_collections, with errors that a user can fix."""

import contextlib
import os
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from vgg_jax.errors import UserError


def define(
    help_string: str, flag_values: flags.FlagValues = flags.FLAGS, **more: Any
) -> flags.FlagHolder:
    """Defines the flag --config, and --config.KEY for the keys of the config that it names.

    Args:
      help_string: The help of the flag.
      flag_values: The flags to which it is added.
      more: Further arguments of `config_flags.DEFINE_config_file`.
    """
    holder = config_flags.DEFINE_config_file(
        "config", help_string=help_string, flag_values=flag_values, **more
    )
    flag_values["config"].parser = _Parser(flag_values["config"].parser)
    return holder


def parse_config(arguments: Sequence[str]) -> ConfigDict:
    """Returns the config that `--config=FILE --config.KEY=VALUE ...` describes.

    Raises:
      UserError: They name no config, or a key or a value that is impossible.
    """
    values = flags.FlagValues()
    define("", values, sys_argv=["", *arguments])
    with clear_config_errors():
        values(["", *arguments])
        return values["config"].value.lock()


@contextlib.contextmanager
def clear_config_errors() -> Iterator[None]:
    """Turns the errors that ml_collections raises for --config into UserErrors."""
    try:
        yield
    except AttributeError as error:  # An override names a key that doesn't exist.
        first: BaseException = error
        while first.__context__ is not None:  # The innermost error names the key.
            first = first.__context__
        what = str(first.args[0]).replace("\n", ". ")
        raise UserError(
            f"The config has no key {what}. vgg_jax/base_config.py lists all keys."
        ) from error
    except (OSError, ImportError) as error:
        raise UserError(f"--config names no config: {error}") from error
    except flags.IllegalFlagValueError as error:
        # absl has put the flag before the error of our own parser.
        own = isinstance(error.__context__, UserError)
        raise (error.__context__ if own else UserError(str(error))) from error


class _Parser(flags.ArgumentParser):
    """Loads a config file as ml_collections does; errors name the file and the line."""

    def __init__(self, parser: flags.ArgumentParser) -> None:
        self._parser = parser

    def parse(self, argument: str) -> Any:
        path = argument.partition(":")[0]
        try:
            c = self._parser.parse(argument)
        except ImportError as error:
            # A file raises a plain ImportError where it has no config of the name after the colon.
            if not isinstance(error, ModuleNotFoundError):
                raise
            raise _explained(path, error) from error
        except Exception as error:
            # ml_collections puts the traceback into a second ValueError or TypeError.
            wrapped = "Error whilst parsing config file" in str(error)
            raise _explained(path, error.__context__ if wrapped else error) from error
        # If the file isn't there, it is an object of ml_collections that raises an error later.
        if not type(c).__module__.startswith("ml_collections."):
            raise UserError(
                f"get_config() in {path} returned {c!r:.60}, which is no ConfigDict. Let it return "
                "that of vgg_jax.base_config.get_config() with other values, as configs/d_256.py "
                "does."
            )
        return c


def _explained(path: str, error: BaseException) -> UserError:
    """Returns an error that says where a config file is wrong."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, SyntaxError):
        return UserError(
            f"The config {error.filename or path} is not valid Python (line {error.lineno}: "
            f"{error.msg})."
        )
    if isinstance(error, AttributeError) and "'get_config'" in str(error):
        return UserError(
            f"The config {path} has no function get_config(), as configs/d_256.py has."
        )
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.realpath(frame.filename) == os.path.realpath(path)
    ]
    where = f" in line {lines[-1]}" if lines else ""
    return UserError(f"The config {path} fails{where} ({type(error).__name__}: {error}).")
