"""The JSON file of a benchmark: every measurement, and what it was measured with."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import sys
from typing import Any

from vgg_jax.errors import UserError, require
from vgg_jax.system import git_commit

_PACKAGES = ("jax", "jaxlib", "torch", "pillow", "numpy")


def check_out(out: str) -> None:
    """Checks that the file can be written, before anything is measured.

    Raises:
      UserError: It exists already, or doesn't end with .json.
    """
    require(out.endswith(".json"), f"--out={out} must end with .json.")
    require(not pathlib.Path(out).exists(), f"--out={out} exists already. Choose another name.")


def default_out(command: str) -> str:
    """Returns a new file's name in the folder benchmarks/, for example train-20260131-120000."""
    return f"benchmarks/{command}-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"


def write(out: str, measured: dict[str, Any]) -> None:
    """Writes the measurements with the facts about this machine and this code.

    Raises:
      UserError: The file can't be written.
    """
    path = pathlib.Path(out)
    values = facts() | measured
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{json.dumps(values, indent=1)}\n")
    except OSError as error:
        raise UserError(
            f"{out} can't be written: {error.strerror}. Choose another --out."
        ) from error
    print(f"\nAll measurements are in {out}.")


def facts() -> dict[str, Any]:
    """Returns the commit, the command, the versions, the cores, glibc's settings and the date."""
    commit = git_commit.commit()
    return {
        "commit": commit.removesuffix("-dirty"),
        "clean": bool(commit) and not commit.endswith("-dirty"),
        "command": shlex.join(["python", "-m", "launch.benchmark", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
