"""Which checkpoints a workdir holds, by their folders' names alone: Orbax isn't needed."""

from typing import Literal

from vgg_jax.storage import files
from vgg_jax.storage.files import Path

Which = Literal["last", "best"]  # The best has the least validation error.

# Where a checkpoint waits while the one that replaces it is written.
REPLACED = "checkpoint_before_validation"

# What Orbax writes last into a checkpoint in a bucket, which it can't rename.
COMMIT = "commit_success.txt"


def last_step(workdir: Path) -> int | None:
    """Returns the step of the last complete checkpoint in a workdir; None where there is none."""
    folders = (workdir / "checkpoints", workdir / REPLACED)
    found = [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]
    return max((int(path.name) for path in found if is_complete(path)), default=None)


def is_complete(checkpoint: Path) -> bool:
    """Tells whether a checkpoint's folder, STEP, is there with all that belongs to it."""
    # On a disk Orbax writes into STEP.orbax-checkpoint-tmp and renames.
    return (checkpoint / COMMIT if files.in_bucket(checkpoint) else checkpoint).exists()


def has_checkpoint(workdir: Path) -> bool:
    """Tells whether a workdir holds a complete checkpoint."""
    return last_step(workdir) is not None
