"""The schedules, each a class in a file of its own; `training.schedule` says what one is.

A new one is a file NAME.py here that ends in `SCHEDULE`; its name is then a value of the config's
`schedule`. This module needs no JAX.
"""

import inspect

from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require
from vgg_jax.system import by_name
from vgg_jax.training.schedule import Schedule


def from_config(c: ConfigDict) -> Schedule:
    """Returns the schedule that a config describes, before the first step.

    Raises:
      UserError: There is no such schedule, the config lacks one of its keys, or one has an
        impossible value.
    """
    schedule = _class(c.schedule)
    try:
        return schedule.from_config(c)
    except AttributeError as error:
        if not isinstance(error.__context__, KeyError):
            raise  # ConfigDict raises it from a KeyError; any other is a mistake in the class.
        key = str(error.__context__.args[0]).replace("\n", ". ")
        raise UserError(
            f"schedule={c.schedule} reads a key that the config lacks: {key}. A config file of "
            "your own adds it, as vgg_jax/README.md says."
        ) from error


def _class(name: str) -> type[Schedule]:
    by_name.require_known("schedule", name, by_name.names(__name__))
    found = by_name.load("schedule", name, __name__, "SCHEDULE")
    require(
        isinstance(found, type) and issubclass(found, Schedule),
        f"schedule={name} must be a class that derives from vgg_jax.training.schedule.Schedule.",
    )
    require(
        not inspect.isabstract(found),
        f"schedule={name} doesn't define {' and '.join(sorted(found.__abstractmethods__))}: see "
        "vgg_jax/training/schedule.py.",
    )
    return found
