"""Orbax's manager of a run's checkpoints: what it keeps, and what it would do otherwise."""

import contextlib
import logging
from collections.abc import Iterator

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from vgg_jax.storage.files import Path

# On a disk, a checkpoint that is no longer kept is moved into this folder beside the others, and
# `Checkpoints` then removes it. A process that was killed while Orbax removed a checkpoint in place
# left a part of it, which looked damaged.
REMOVED = "removed"


def opened(directory: Path, *, read_only: bool) -> ocp.CheckpointManager:
    """Returns a manager that keeps the last two checkpoints and the best.

    Args:
      directory: The folder of the checkpoints.
      read_only: True for the checkpoints of another run, which may be saving right now.

    Raises:
      ValueError: A file of Orbax's own is damaged, or a checkpoint is removed meanwhile.
    """
    with _no_warning_that_it_is_read_only():
        return _Manager(
            directory, item_names=("params", "opt_state", "run"), options=_options(read_only)
        )


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False without asking JAX, because `Job.all_stop` asks it.

        Orbax would ask JAX at each save, with the step's number. `all_stop` counts differently. A
        SIGTERM between Orbax's call and the next one of `all_stop` was then never acted on.
        """
        return False


def _options(read_only: bool) -> ocp.CheckpointManagerOptions:
    return ocp.CheckpointManagerOptions(
        read_only=read_only,
        create=not read_only,
        save_interval_steps=0 if read_only else 1,
        cleanup_tmp_directories=not read_only,
        todelete_subdir=None if read_only else REMOVED,
        # The policy below decides what is kept. But Orbax needs a best_fn to write the
        # errors to disk, and to know after a resume which checkpoint was the best.
        best_fn=lambda metrics: metrics["top1_error"],
        best_mode="min",
        preservation_policy=AnyPreservationPolicy(
            [
                LatestN(2),  # The last may be damaged; the other one is a fallback.
                # Checkpoints within an epoch have no error to compare.
                BestN(
                    get_metric_fn=lambda metrics: -metrics["top1_error"],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        ),
    )


@contextlib.contextmanager
def _no_warning_that_it_is_read_only() -> Iterator[None]:
    # `vgg_jax.load` in a user's program printed Orbax's warning, though nothing is wrong.
    logger = logging.getLogger("absl")

    def wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Given directory is read only")

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
