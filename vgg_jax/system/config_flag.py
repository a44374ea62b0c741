"""The flag --config of ml_collections, with errors that a user can fix."""

import contextlib
from collections.abc import Iterator, Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from vgg_jax.errors import UserError


def parse_config(arguments: Sequence[str]) -> ConfigDict:
    """Returns the config that `--config=FILE --config.KEY=VALUE ...` describes.

    Raises:
      UserError: They name no config, or a key or a value that is impossible.
    """
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["", *arguments])
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
        raise UserError(str(error)) from error
