"""Checkpoints, which Orbax saves asynchronously. It keeps the last two and the best."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from vgg_jax.errors import UserError
from vgg_jax.runs import (
    checkpoint_errors,
    orbax_manager,
    record,
    run_config,
    run_result,
    saved_steps,
)
from vgg_jax.runs.record import SavedRun
from vgg_jax.runs.state import TrainState
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import processes
from vgg_jax.system.peers import is_lost


class Checkpoints:
    """The checkpoints of one run, in workdir/checkpoints/STEP.

    Each holds the parameters, the optimiser's state, and a `SavedRun` as JSON.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False) -> None:
        """Opens a run's checkpoints.

        Args:
          workdir: The run's workdir.
          read_only: True for the checkpoints of another run, which may be saving right now.

        Raises:
          UserError: The facts or the validation error of a checkpoint are damaged.
        """
        self._read_only = read_only
        self.directory = files.absolute(workdir) / saved_steps.FOLDER
        self._aside = files.absolute(workdir) / saved_steps.REPLACED
        if not read_only:
            processes.from_first(self._bring_back)
            self._clear_removed()
        self._refuse_damaged_records()
        with checkpoint_errors.refuse_unopened(self.directory, read_only=read_only):
            self._manager = orbax_manager.opened(self.directory, read_only=read_only)
        if not read_only:
            self._await_same_steps()

    @property
    def last_step(self) -> int | None:
        """The step of the last complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, run: SavedRun, top1_error: float | None) -> None:
        """Starts to save a checkpoint. The state may be donated as soon as this returns.

        Args:
          state: The training state. Its step names the checkpoint.
          run: The run's facts and its progress.
          top1_error: Top-1 validation error in percent; None within an epoch.

        Raises:
          UserError: This checkpoint or the previous one could not be written.
        """
        step = int(state.step)
        with self._writing():
            # Until then, Orbax moves checkpoints into the folder of removed ones.
            self._manager.wait_until_finished()
            self._clear_removed()
            replaces = step == self.last_step
            if replaces:  # The run was stopped after saving this step, before its validation.
                processes.from_first(lambda: self._put_aside(step))
                self._manager.reload()
                self._await_same_steps()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    opt_state=ocp.args.StandardSave(state.opt_state),
                    run=ocp.args.JsonSave(
                        record.to_json(
                            run,
                            step,
                            top1_error,
                            {"params": state.params, "opt_state": state.opt_state},
                        )
                    ),
                ),
                metrics=None if top1_error is None else {"top1_error": top1_error},
            )
            if replaces:
                self._manager.wait_until_finished()
                processes.from_first(lambda: files.remove_tree(self._aside))

    def step_of(self, which: saved_steps.Which) -> int:
        """Returns the step of the last or the best complete checkpoint.

        Raises:
          UserError: There is no checkpoint; for the best, none was validated; or the run is
            finished, and the last one isn't that of its end.
        """

        def found() -> int | None:
            if which == "best":
                return self._manager.best_step()
            run_result.read(self.directory.parent)  # It says which one is the last.
            return self.last_step

        step = processes.from_first(found, lambda step: None if step is None else int(step))
        if step is None:
            validated = "" if which == "last" else "validated "
            raise UserError(f"There is no {validated}checkpoint in {self.directory}.")
        return step

    def restore_run(self, step: int | None = None) -> SavedRun:
        """Reads the `SavedRun` of a checkpoint, by default the last.

        Raises:
          UserError: There is no checkpoint, or it is damaged, or the config is another run's.
        """
        step = self.step_of("last") if step is None else step
        with self._reading(step) as checkpoint:
            saved = record.read(checkpoint).run
        run_config.refuse_other_than(saved.progress.get("config", {}), self.directory.parent)
        return saved

    def restore(self, like: TrainState) -> TrainState:
        """Reads the state of the last checkpoint. All but its step is placed as in `like`.

        Raises:
          UserError: There is no checkpoint, or it is damaged.
        """
        restored = self._read(
            None,
            params=ocp.args.StandardRestore(_abstract(like.params)),
            opt_state=ocp.args.StandardRestore(_abstract(like.opt_state)),
        )
        _free_copies((restored.params, restored.opt_state))
        # The step isn't committed to a device: from one, JAX couldn't bring it to those of several
        # processes.
        counter = jax.numpy.int32(self.last_step)
        return TrainState(counter, restored.params, restored.opt_state)

    def restore_params(self, like: Any, step: int | None = None) -> Any:
        """Reads the parameters of a checkpoint, by default the last, placed as in `like`.

        Raises:
          UserError: There is no checkpoint, or it is damaged.
        """
        params = self._read(step, params=ocp.args.StandardRestore(_abstract(like))).params
        _free_copies(params)
        return params

    def wait(self) -> None:
        """Returns when all checkpoints that were given to `save` are written.

        Raises:
          UserError: A checkpoint could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Releases what the manager holds.

        Raises:
          UserError: A checkpoint could not be written.
        """
        with self._writing():
            self._manager.close()
        if not self._read_only:
            self._clear_removed()
            self._remove_empty()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not is_lost(error):  # Closing would wait for the lost process to save its part.
            self.close()

    def _await_same_steps(self) -> None:
        # A process that believes that a step is saved, while the others save it, would leave them
        # waiting.
        steps = processes.from_first(lambda: sorted(self._manager.all_steps()))

        def seen() -> bool:
            if sorted(self._manager.all_steps()) == steps:
                return True
            self._manager.reload()
            return False

        processes.wait_until_seen(self.directory, seen)

    def _put_aside(self, step: int) -> None:
        self._aside.mkdir(exist_ok=True)
        files.move_tree(self.directory / str(step), self._aside / str(step), saved_steps.COMMIT)

    def _bring_back(self) -> None:
        # If a process was killed while it replaced a checkpoint, the new one counts if complete.
        for old in self._aside.glob("*"):
            new = self.directory / old.name
            if not saved_steps.is_complete(new):
                files.remove_tree(new)
                files.move_tree(old, new, saved_steps.COMMIT)
        files.remove_tree(self._aside)

    def _clear_removed(self) -> None:
        if jax.process_index() == 0:
            files.remove_tree(self.directory / orbax_manager.REMOVED)

    def _remove_empty(self) -> None:
        if jax.process_index() == 0 and not files.in_bucket(self.directory):
            with contextlib.suppress(OSError):  # A run that is refused leaves no folders.
                self.directory.rmdir()

    def _read(self, step: int | None, **items: Any) -> Any:
        step = self.step_of("last") if step is None else step
        with self._reading(step) as checkpoint:
            found = record.read(checkpoint)
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            for item in items:
                found.check(item, restored[item])
            return restored

    def _refuse_damaged_records(self) -> None:
        # Orbax reads all errors at once, and its error doesn't say which one is damaged.
        for step in saved_steps.complete(self.directory.parent):
            with self._reading(step) as checkpoint:
                record.read(checkpoint)

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[Path]:
        checkpoint = self.directory / str(step)
        with checkpoint_errors.refuse_unreadable(checkpoint, read_only=self._read_only):
            yield checkpoint

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return checkpoint_errors.refuse_unwritten(self.directory, self._manager.latest_step)


def _free_copies(restored: Any) -> None:
    # Orbax leaves the arrays that it read in reference cycles: a second copy of most parameters.
    jax.block_until_ready(restored)  # Before that, JAX holds them too.
    gc.collect()


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
