"""Parses the flags of a command. Errors and help are for people who don't know absl."""

import itertools
import os
import re
import shutil
import sys
from collections.abc import Sequence

from absl import flags

from vgg_jax import base_config
from vgg_jax.errors import UserError, did_you_mean
from vgg_jax.system import config_keys

_OF_ABSL = ("flagfile", "undefok")  # absl handles them before other flags, and doesn't list them.
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")
_LEAST_WIDTH = 40


def parse(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the flags, and returns the other arguments, the program's name first.

    Raises:
      UserError: There is no such flag, a value is impossible, or a flag is missing; or a value or
        an argument is empty, as an unset variable of the shell is.
    """
    try:
        rest = flag_values(argv)
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, flag_values) from error
    except flags.IllegalFlagValueError as error:
        if isinstance(error.__context__, UserError):  # absl has put the flag before it.
            raise error.__context__ from error
        # The name of a flag that is missing stands twice in its error.
        missing = re.match(r"flag --(\w+)=None: Flag --\1 must have a value", str(error))
        if missing:
            about = flag_values[missing[1]].help
            raise UserError(f"--{missing[1]} is missing. {about}") from error
        raise UserError(_sentence(error)) from error
    except flags.Error as error:
        raise UserError(_sentence(error)) from error
    for name in flag_values:
        flag = flag_values[name]
        if flag.present and flag.value in ("", [], [""]) and flag.value != flag.default:
            raise UserError(f"--{name} is empty. Give it a value, or leave it out.")
    if "" in rest[1:]:
        raise UserError("An argument is empty. Give it a value, or leave it out.")
    return rest


def refuse_unknown(argv: Sequence[str]) -> None:
    """Checks that a command has all flags that are given, without parsing them.

    Flags of a config, --config.KEY, aren't checked: only the config knows its keys.

    Raises:
      UserError: There is no such flag; the message names one that is spelt alike.
    """
    for argument in itertools.takewhile(lambda argument: argument != "--", argv[1:]):
        name = re.match(r"--?(\w[^=]*)", argument)
        if not name or name[1].startswith("config."):
            continue
        known = {*flags.FLAGS, *_OF_ABSL}
        if name[1] not in known and name[1].removeprefix("no") not in known:
            raise _unknown(name[1], flags.FLAGS)


def _unknown(name: str, flag_values: flags.FlagValues) -> UserError:
    meant = did_you_mean(name, flag_values, "--")
    if "config" in flag_values and name in config_keys.names(base_config.get_config()):
        meant = f" Did you mean --config.{name}?"
    return UserError(f"There is no flag --{name}.{meant} See --help.")


def _sentence(error: flags.Error) -> str:
    text = str(error).removeprefix("flag ").rstrip(".")
    text = re.sub(r"invalid literal for int\(\) with base 10: '.*'", "not a whole number", text)
    text = re.sub(r"\('Non-boolean argument .*\)", "neither true nor false", text)
    return f"{text}."


def wants_help(argv: Sequence[str]) -> bool:
    """Returns whether a command was asked for its help."""
    return any(argument in _HELP for argument in argv[1:])


def help_text() -> str:
    """Returns what a command does, its flags, and the keys of a config if it has one."""
    about = (sys.modules["__main__"].__doc__ or "").strip()
    width = max(_LEAST_WIDTH, shutil.get_terminal_size().columns)
    os.environ["COLUMNS"] = str(width)  # absl fails on terminals that are narrower.
    of_flags = flags.FLAGS.main_module_help().strip().partition("\n")[2]
    keys = f"\n\nThe keys of a config, with their defaults:\n\n{config_keys.listed()}"
    return f"{about}\n\nFlags:\n\n{of_flags}{keys if 'config' in flags.FLAGS else ''}"
