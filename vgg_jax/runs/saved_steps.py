"""Finds the checkpoints in a workdir by their folders' names and errors, without Orbax."""

import re
import time
from typing import Literal

from vgg_jax.storage import files, sealed_json
from vgg_jax.storage.files import Path

Which = Literal["last", "best"]  # The best has the lowest validation error.

FOLDER = "checkpoints"  # In a workdir. It holds a folder STEP for each checkpoint.

# This folder holds a checkpoint while its replacement is written.
REPLACED = "checkpoint_before_validation"

# The file that Orbax writes last into a checkpoint in a bucket, where it can't rename folders.
COMMIT = "commit_success.txt"

_REMOVAL_S = 3.0  # How long a process may take to remove a checkpoint's folder.


def path(workdir: Path, step: int) -> Path:
    """Returns the folder of a step's checkpoint, whether or not there is one."""
    return workdir / FOLDER / str(step)


def last_step(workdir: Path) -> int | None:
    """Returns the step of the last complete checkpoint in a workdir; None if there is none."""
    checkpoint = last_checkpoint(workdir)
    return None if checkpoint is None else int(checkpoint.name)


def step_of(workdir: Path, which: Which) -> int | None:
    """Returns the step of the last or the best complete checkpoint; None if there is none."""
    if which == "last":
        return last_step(workdir)
    errors = {step: top1_error(path(workdir, step)) for step in complete(workdir)}
    validated = [step for step in errors if errors[step] is not None]
    # If errors are equal, the last counts as the best, as for Orbax.
    return min(validated, key=lambda step: (errors[step], -step), default=None)


def top1_error(checkpoint: Path) -> float | None:
    """Returns the validation error of a checkpoint, in percent; None if it can't be read."""
    try:
        return sealed_json.load(checkpoint / "metrics" / "metrics")["top1_error"]
    except (OSError, ValueError, LookupError, TypeError):  # Whoever restores it says so.
        return None


def last_checkpoint(workdir: Path) -> Path | None:
    """Returns the folder of the last complete checkpoint; None if there is none."""
    found = _complete(workdir / FOLDER) + _complete(workdir / REPLACED)
    return max(found, key=lambda path: int(path.name), default=None)


def complete(workdir: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in workdir/checkpoints, in order."""
    return sorted(int(path.name) for path in _complete(workdir / FOLDER))


def _complete(folder: Path) -> list[Path]:
    named = (path for path in folder.glob("*") if re.fullmatch(r"[0-9]+", path.name))
    return [path for path in named if is_complete(path)]


def is_complete(checkpoint: Path) -> bool:
    """Returns whether a checkpoint, given by its folder STEP, exists and is complete."""
    # On a disk, Orbax writes into STEP.orbax-checkpoint-tmp, which it renames at the end.
    return (checkpoint / COMMIT if files.in_bucket(checkpoint) else checkpoint).exists()


def is_removed(checkpoint: Path) -> bool:
    """Returns whether a checkpoint that was there, given by its folder STEP, has been removed.

    A run removes a checkpoint only after newer ones are saved. That is waited for.
    """
    until_s = time.monotonic() + _REMOVAL_S
    while is_complete(checkpoint):
        if checkpoint == last_checkpoint(checkpoint.parents[1]) or time.monotonic() > until_s:
            return False
        time.sleep(0.1)
    return True


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a workdir holds a complete checkpoint."""
    return last_step(workdir) is not None
