"""A task of a sweep: one command, the tasks that it waits for and the file that it leaves."""

import dataclasses
import pathlib
import shlex
from collections.abc import Iterable
from typing import Literal

from ml_collections import ConfigDict

from vgg_jax.storage.files import Path
from vgg_jax.system import config_flag

Kind = Literal["train", "evaluate", "fuse"]


@dataclasses.dataclass(frozen=True)
class Task:
    """One command of a sweep.

    Attributes:
      name: The name by which other tasks, logs and jobs refer to it. It begins with the folder of
        its seed, if there is one.
      kind: Whether it trains, evaluates or fuses.
      arguments: The arguments of the command, after `python`.
      waits_for: The names of the tasks that must succeed first.
      result: The file that exists once the task has succeeded.
      log: The file of its output.
      workdir: The workdir of the run; for a fusion, the folder of its result.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    waits_for: tuple[str, ...]
    result: Path
    log: pathlib.Path
    workdir: Path

    @property
    def command(self) -> str:
        """The whole command, for a shell."""
        return shlex.join(["python", *self.arguments])

    @property
    def config_file(self) -> str:
        """The value of --config; "" for a fusion, which has no config."""
        given = [a for a in self.arguments if a.startswith("--config=")]
        return given[0].removeprefix("--config=") if given else ""

    def config(self) -> ConfigDict:
        """Returns the config of a training run or an evaluation.

        Raises:
          UserError: The arguments name no config file, or set a key that the config lacks.
        """
        return config_of(self.arguments)


def config_of(arguments: Iterable[str]) -> ConfigDict:
    """Returns the config that a command's arguments describe.

    Raises:
      UserError: The arguments name no config file, or set a key that the config lacks.
    """
    return config_flag.parse_config([a for a in arguments if a.startswith("--config")])
