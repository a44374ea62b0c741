"""Finds the checkpoints in a workdir by their folders' names alone, without Orbax."""

from typing import Literal

from vgg_jax.storage import files
from vgg_jax.storage.files import Path

Which = Literal["last", "best"]  # The best has the lowest validation error.

# This folder holds a checkpoint while its replacement is written.
REPLACED = "checkpoint_before_validation"

# The file that Orbax writes last into a checkpoint in a bucket, where it can't rename folders.
COMMIT = "commit_success.txt"


def last_step(workdir: Path) -> int | None:
    """Returns the step of the last complete checkpoint in a workdir; None if there is none."""
    folders = (workdir / "checkpoints", workdir / REPLACED)
    found = [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]
    return max((int(path.name) for path in found if is_complete(path)), default=None)


def complete(workdir: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in workdir/checkpoints, in order."""
    found = [path for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return sorted(int(path.name) for path in found if is_complete(path))


def is_complete(checkpoint: Path) -> bool:
    """Returns whether a checkpoint, given by its folder STEP, exists and is complete."""
    # On a disk, Orbax writes into STEP.orbax-checkpoint-tmp, which it renames at the end.
    return (checkpoint / COMMIT if files.in_bucket(checkpoint) else checkpoint).exists()


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a workdir holds a complete checkpoint."""
    return last_step(workdir) is not None
