"""The schedules: one class per file. Their base class is in `training.schedule`.

A new schedule is a file NAME.py in this folder that ends by assigning its class to `SCHEDULE`. NAME
is then a possible value of the config's `schedule`. This module needs no JAX.
"""

import inspect

from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require
from vgg_jax.system import by_name
from vgg_jax.training.schedule import Schedule


def from_config(c: ConfigDict) -> Schedule:
    """Returns the schedule that a config describes, before the first step.

    Raises:
      UserError: There is no such schedule, or one of its keys is missing from the config or has
        an impossible value.
    """
    schedule = _class(c.schedule)
    try:
        return schedule.from_config(c)
    except AttributeError as error:
        if not isinstance(error.__context__, KeyError):
            raise  # A ConfigDict raises it from a KeyError; any other is a bug in the class.
        key = str(error.__context__.args[0]).replace("\n", ". ")
        raise UserError(
            f"schedule={c.schedule} reads a key that the config lacks: {key}. Add it in a "
            "config file of your own: see vgg_jax/README.md."
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
