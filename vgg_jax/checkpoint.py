"""Checkpoints: saved asynchronously, the last and the best kept (Orbax)."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from vgg_jax.errors import UserError
from vgg_jax.step import TrainState


class Checkpoints:
    """The checkpoints of one run, in workdir/checkpoints/STEP.

    Each holds the parameters, the optimiser's state, and a `run` of plain values: what else it
    takes to go on or to use the net (plateau rule, class names, mean RGB).
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        self.directory = workdir.absolute() / "checkpoints"
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=("params", "opt_state", "run"),
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                # The policy below decides what is kept, but only with a best_fn does Orbax write
                # the errors to disk, and know after a resume which checkpoint was the best.
                best_fn=lambda metrics: metrics["top1_error"],
                best_mode="min",
                preservation_policy=AnyPreservationPolicy(
                    [
                        LatestN(1),
                        # Checkpoints within an epoch have no error to be best in.
                        BestN(
                            get_metric_fn=lambda metrics: -metrics["top1_error"],
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
            ),
        )

    @property
    def last_step(self) -> int | None:
        """Step of the last complete checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, run: dict[str, Any], top1_error: float | None) -> None:
        """Starts saving; the state may be donated as soon as this returns.

        Args:
          state: The state, at its step.
          run: Plain values, written as JSON.
          top1_error: Validation error in percent; None within an epoch.
        """
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                opt_state=ocp.args.StandardSave(state.opt_state),
                run=ocp.args.JsonSave(run),
            ),
            metrics=None if top1_error is None else {"top1_error": top1_error},
        )

    def restore_run(self) -> dict[str, Any]:
        """Reads the plain values of the last checkpoint."""
        args = ocp.args.Composite(run=ocp.args.JsonRestore())
        return self._manager.restore(self.last_step, args=args).run

    def restore(self, like: TrainState) -> TrainState:
        """Reads the state of the last checkpoint, placed as `like` is."""
        step = self.last_step
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(_abstract(like.params)),
                opt_state=ocp.args.StandardRestore(_abstract(like.opt_state)),
            ),
        )
        counter = jax.device_put(jax.numpy.int32(step), like.step.sharding)
        return TrainState(counter, restored.params, restored.opt_state)

    def restore_params(self, like: Any) -> Any:
        """Reads the parameters of the last checkpoint, placed as `like` is.

        Raises:
          UserError: There is no checkpoint.
        """
        if self.last_step is None:
            raise UserError(f"There is no checkpoint in {self.directory}.")
        args = ocp.args.Composite(params=ocp.args.StandardRestore(_abstract(like)))
        return self._manager.restore(self.last_step, args=args).params

    def wait(self) -> None:
        """Returns when what was given to `save` is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases what the manager holds."""
        self._manager.close()


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
