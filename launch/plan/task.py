"""A task of a sweep: one command, what it waits for and what it leaves."""

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
    """One command.

    Attributes:
      name: What other tasks, logs and jobs call it. It begins with the folder of its seed, if any.
      kind: What it does.
      arguments: What stands behind `python`.
      waits_for: The names of the tasks that must have ended well before.
      result: The file that its end leaves.
      log: The file of its output.
      workdir: The workdir of the run; for a fusion the folder of its result.
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
        """What --config names; "" for a fusion, which has no config."""
        given = [a for a in self.arguments if a.startswith("--config=")]
        return given[0].removeprefix("--config=") if given else ""

    def config(self) -> ConfigDict:
        """Returns the config of a training run or an evaluation.

        Raises:
          UserError: The arguments name no config, or no key of it.
        """
        return config_of(self.arguments)


def config_of(arguments: Iterable[str]) -> ConfigDict:
    """Returns the config that a command's arguments describe.

    Raises:
      UserError: They name no config, or no key of it.
    """
    return config_flag.parse_config([a for a in arguments if a.startswith("--config")])
