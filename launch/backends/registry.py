"""The list of backends, and the function that makes one from the flags of `launch.sweep`."""

import dataclasses

from absl.flags import FlagValues

from launch.backends.interface import Backend
from launch.backends.local import Local
from launch.backends.sky import Sky
from launch.backends.slurm import Slurm
from vgg_jax.errors import UserError

BACKENDS: dict[str, type[Backend]] = {kind.name: kind for kind in (Local, Slurm, Sky)}


def make(name: str, given: FlagValues) -> Backend:
    """Makes a backend from the flags that it reads.

    Args:
      name: One of BACKENDS.
      given: All flags of the command.

    Raises:
      UserError: The user gave a flag that only other backends read.
    """
    readers: dict[str, list[str]] = {}
    for other, kind in BACKENDS.items():
        for flag in _flags_of(kind):
            readers.setdefault(flag, []).append(other)
    for flag, names in readers.items():
        if given[flag].present and name not in names:
            raise UserError(f"--{flag} needs --backend={' or '.join(names)}.")
    return BACKENDS[name](**{flag: given[flag].value for flag in _flags_of(BACKENDS[name])})


def _flags_of(kind: type[Backend]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]
