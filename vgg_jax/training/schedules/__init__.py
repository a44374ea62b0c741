"""The schedules: one class per file. Their base class is in `training.schedule`.

A new schedule is a file NAME.py in this folder that ends by assigning its class to `SCHEDULE`. NAME
is then a possible value of the config's `schedule`. This module needs no JAX.
"""

import inspect
import json

from ml_collections import ConfigDict

from vgg_jax import base_config
from vgg_jax.errors import UserError, require
from vgg_jax.system import by_name
from vgg_jax.training.schedule import Schedule


def from_config(c: ConfigDict) -> Schedule:
    """Returns the schedule that a config describes, before the first step.

    Raises:
      UserError: There is no such schedule, or one of its keys is missing from the config or has
        an impossible value.
    """
    kind = _class(c.schedule)
    try:
        schedule = kind.from_config(c)
    except AttributeError as error:
        if not isinstance(error.__context__, KeyError):
            raise  # A ConfigDict raises it from a KeyError; any other is a bug in the class.
        key = str(error.__context__.args[0]).replace("\n", ". ")
        raise UserError(
            f"schedule={c.schedule} reads a key that the config lacks: {key}. Add it in a "
            "config file of your own: see vgg_jax/README.md."
        ) from error
    if by_name.is_own(c.schedule):
        # A schedule is a value, so its first epoch can be tried before training.
        _refuse_unusable(c.schedule, schedule)
        _refuse_unusable(c.schedule, schedule.after_epoch(100.0))
    return schedule


def refuse_unused_keys(c: ConfigDict) -> None:
    """Checks that only the schedule in use has keys with other values than the defaults.

    Raises:
      UserError: Another schedule has one.
    """
    defaults = base_config.get_config()
    for name in by_name.names(__name__):
        keys = c.get(name, {})  # A schedule may have no section.
        changed = [key for key, value in keys.items() if value != defaults[name][key]]
        if name != c.schedule and changed:
            raise UserError(
                f"{name}.{changed[0]}={c[name][changed[0]]} has no effect with "
                f"schedule={c.schedule}. Leave it out, or set --config.schedule={name}."
            )


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
    forgets = found.state is Schedule.state or found.restored is Schedule.restored
    require(
        found.after_epoch is Schedule.after_epoch or not forgets,
        f"schedule={name} defines after_epoch, but not both state and restored. A run that is "
        "resumed would forget its epochs: see vgg_jax/training/schedules/plateau.py.",
    )
    return found


def _refuse_unusable(name: str, schedule: object) -> None:
    require(
        isinstance(schedule, Schedule),
        f"schedule={name}: from_config and after_epoch must return a schedule, not {schedule!r}.",
    )
    try:
        json.dumps(schedule.state)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"schedule={name}: its state can't be saved as JSON ({error}). It must consist of "
            "plain Python numbers, strings, lists and dicts."
        ) from error
