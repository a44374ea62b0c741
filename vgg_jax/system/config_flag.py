"""The flag --config of ml_collections, with errors that a user can fix."""

import contextlib
import difflib
import os
import pathlib
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from vgg_jax import base_config
from vgg_jax.errors import UserError, did_you_mean, some_of
from vgg_jax.system import config_keys, flag_parsing

flags.disclaim_key_flags()  # --config belongs to the command that defines it: see its --help.


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
    with clear_errors(arguments, values):
        flag_parsing.parse(["", *arguments], values)
        return values["config"].value.lock()


@contextlib.contextmanager
def clear_errors(
    arguments: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> Iterator[None]:
    """Turns the errors that ml_collections raises for --config into UserErrors.

    Args:
      arguments: The arguments that are parsed in this context.
      flag_values: The flags to which --config was added.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:  # The last two are of sections.
        unknown = _unknown_key(arguments, flag_values["config"].parser.loaded)
        if unknown is None:
            raise
        raise unknown from error
    except OSError as error:
        raise _unreadable(flag_values["config"].parser.path) from error
    except ImportError as error:  # The file has no config of the name after the colon.
        raise UserError(str(error)) from error


def _unknown_key(arguments: Sequence[str], c: ConfigDict) -> UserError | None:
    """Returns the error about the first key that doesn't exist; None if all do."""
    known = list(config_keys.names(c))
    given = [match[1] for match in map(re.compile(r"--?config\.([^=]+)").match, arguments) if match]
    unknown = next((key for key in given if key not in known), None)
    if unknown is None:
        return None
    meant = did_you_mean(unknown, known)
    return UserError(
        f"The config has no key {unknown}.{meant} `python -m vgg_jax.main --help` lists all keys."
    )


def _unreadable(path: str) -> UserError:
    if pathlib.Path(path).suffix == ".json":
        return UserError(
            f"{path} is the saved config of a run. To go on with that run, or to evaluate it, "
            f"give --workdir={pathlib.Path(path).parent} without --config."
        )
    if pathlib.Path(path).is_file():
        return UserError(f"The config {path} can't be read. May you read it?")
    # The files of this project are meant, whatever the current folder.
    folder = pathlib.Path(__file__).parents[2] / "configs"
    known = {file.stem: os.path.relpath(file) for file in sorted(folder.glob("*.py"))}
    close = difflib.get_close_matches(pathlib.Path(path).stem, known, n=2)
    meant = f" Did you mean {' or '.join(known[name] for name in close)}?" if close else ""
    listed = (
        f" There are {', '.join(known)} in {os.path.relpath(folder)}."
        if known
        else " The project's configs are files of its checkout, and not installed with the package."
    )
    return UserError(f"There is no config {path}.{meant}{listed}")


class _Parser(flags.ArgumentParser):
    """Loads a config file as ml_collections does; errors name the file and the line."""

    def __init__(self, parser: flags.ArgumentParser) -> None:
        self._parser = parser
        self.path, self.loaded = "", ConfigDict()  # Of the last file, for later errors.

    def parse(self, argument: str) -> Any:
        path = self.path = argument.partition(":")[0]
        if path.endswith(".json"):
            raise _unreadable(path)
        try:
            c = self._parser.parse(argument)
        except ImportError as error:
            # A file raises a plain ImportError where it has no config of the name after the colon.
            if not isinstance(error, ModuleNotFoundError):
                raise
            raise _explained(path, error) from error
        except (Exception, SystemExit) as error:  # A file may call sys.exit.
            # ml_collections puts the traceback into a second ValueError or TypeError.
            wrapped = "Error whilst parsing config file" in str(error)
            raise _explained(path, error.__context__ if wrapped else error) from error
        # If the file isn't there, it is an object of ml_collections that raises an error later.
        if not type(c).__module__.startswith("ml_collections."):
            raise _no_config_of_a_run(path, f"{c!r:.60}, which is no ConfigDict")
        if isinstance(c, ConfigDict):
            own = {*config_keys.names(c)}
            needed = config_keys.names(base_config.get_config())
            missing = [key for key in needed if key not in own]
            if missing:
                raise _no_config_of_a_run(path, f"a config without {some_of(missing)}")
            self.loaded = c
        return c


def _no_config_of_a_run(path: str, returned: str) -> UserError:
    return UserError(
        f"get_config() in {path} returned {returned}. Let it return that of "
        "vgg_jax.base_config.get_config() with other values, as configs/d_256.py does."
    )


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
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    return UserError(f"The config {path} fails{where} ({what}).")
