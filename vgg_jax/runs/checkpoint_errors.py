"""Errors about checkpoints that say what to do, in place of those of Orbax and TensorStore."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax

from vgg_jax.errors import UnwrittenError, UserError
from vgg_jax.runs import checkpoint_check, saved_steps
from vgg_jax.storage import gcs, unread
from vgg_jax.storage.files import Path
from vgg_jax.system.peers import is_lost

T = TypeVar("T")

_ATTEMPTS = 5


class PrunedError(UserError):
    """Raised when a checkpoint was removed while it was read, because its run saved others."""


def until_not_pruned(read: Callable[[], T]) -> T:
    """Calls a function that opens and reads checkpoints, again if one was removed meanwhile.

    Several processes don't try again, because each could then read another checkpoint.

    Raises:
      PrunedError: Checkpoints are removed faster than they can be read.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except PrunedError:
            if jax.process_count() > 1:
                raise
    return read()


@contextlib.contextmanager
def refuse_unopened(directory: Path, *, read_only: bool) -> Iterator[None]:
    """Converts the errors of opening Orbax's manager.

    Args:
      directory: The folder of the checkpoints.
      read_only: See `checkpoints.Checkpoints`.

    Raises:
      PrunedError: A checkpoint was removed meanwhile.
      UserError: A file of Orbax's own is damaged.
    """
    before = saved_steps.complete(directory.parent)
    try:
        yield
    except Exception as error:
        gone = sorted({*before} - {*saved_steps.complete(directory.parent)})
        if read_only and gone:
            raise _pruned(directory / str(gone[0])) from error
        if not isinstance(error, ValueError) or is_lost(error) or gcs.explain(error):
            raise
        raise UserError(
            f"The checkpoints in {directory} can't be opened ({checkpoint_check.reason(error)}). "
            "A file of Orbax's own is damaged, which no run needs. Remove it: "
            f"{directory}/STEP/_CHECKPOINT_METADATA."
        ) from error


@contextlib.contextmanager
def refuse_unreadable(checkpoint: Path, *, read_only: bool) -> Iterator[None]:
    """Converts the errors of reading a checkpoint.

    Args:
      checkpoint: Its folder STEP.
      read_only: See `checkpoints.Checkpoints`.

    Raises:
      PrunedError: It was removed meanwhile.
      UserError: It is damaged, or the system doesn't let it be read.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # A full device isn't damage.
    # For missing or truncated files, Orbax and TensorStore raise any of a dozen exceptions.
    except Exception as error:
        if is_lost(error) or gcs.explain(error):
            raise
        if read_only and saved_steps.is_removed(checkpoint):  # Only another process removes it.
            raise _pruned(checkpoint) from error
        unread.refuse(checkpoint, error)
        raise unreadable(checkpoint, checkpoint_check.reason(error)) from error


def unreadable(checkpoint: Path, reason: str) -> UserError:
    """Returns the error of a damaged checkpoint, with the command that does without it.

    Args:
      checkpoint: Its folder STEP.
      reason: What is wrong with it, in a few words.
    """
    directory = checkpoint.parent
    others = [
        directory / str(step)
        for step in reversed(saved_steps.complete(directory.parent))
        if step != int(checkpoint.name)
    ]
    is_checked = jax.process_count() == 1
    if is_checked:
        others = [*itertools.islice((o for o in others if not checkpoint_check.damage(o)), 1)]
    good = int(others[0].name) if others else None
    return UserError(
        f"The checkpoint {checkpoint} can't be read ({reason}).\n"
        + checkpoint_check.remedy([checkpoint], good, is_checked)
    )


@contextlib.contextmanager
def refuse_unwritten(directory: Path, last_step: Callable[[], int | None]) -> Iterator[None]:
    """Converts the errors of saving a checkpoint.

    Args:
      directory: The folder of the checkpoints.
      last_step: Returns the step of the last complete checkpoint; None if there is none.

    Raises:
      UnwrittenError: The checkpoint could not be written.
    """
    try:
        yield
    # A failure to write also raises any of a dozen exceptions: a full disk may be an OSError or a
    # ValueError of TensorStore.
    except Exception as error:
        if is_lost(error):
            raise
        last, reason = last_step(), checkpoint_check.reason(error)
        kept = "" if last is None else f" The last good one is {directory / str(last)}."
        raise UnwrittenError(
            f"A checkpoint could not be written to {directory} ({reason}).{kept}\n"
            "Free some space, or make the folder accessible; the same command then goes on."
        ) from error


def _pruned(checkpoint: Path) -> PrunedError:
    return PrunedError(
        f"{checkpoint} was removed while it was read, because the run there has saved newer "
        "checkpoints. Give the same command again."
    )
