"""Checkpoints: saved asynchronously, the last two and the best kept (Orbax)."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from vgg_jax.errors import UnwrittenError, UserError
from vgg_jax.runs import saved_steps
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.state import TrainState
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import processes
from vgg_jax.system.peers import is_lost


class SavedRun(NamedTuple):
    """What a checkpoint holds besides arrays.

    Attributes:
      facts: What it takes to use the net.
      progress: Plain values: what else it takes to go on with the run.
    """

    facts: RunFacts
    progress: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in workdir/checkpoints/STEP.

    Each holds the parameters, the optimiser's state, and a `SavedRun` as JSON.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False) -> None:
        """Opens a run's checkpoints.

        Args:
          workdir: The run's.
          read_only: Another run's, which may be saving right now.

        Raises:
          UserError: The file that holds a checkpoint's error is damaged.
        """
        self.directory = files.absolute(workdir) / "checkpoints"
        self._aside = files.absolute(workdir) / saved_steps.REPLACED
        if not read_only:
            processes.from_first(self._bring_back)
        self._refuse_damaged_metrics()
        self._manager = _Manager(
            self.directory,
            item_names=("params", "opt_state", "run"),
            options=ocp.CheckpointManagerOptions(
                read_only=read_only,
                create=not read_only,
                save_interval_steps=0 if read_only else 1,
                cleanup_tmp_directories=not read_only,
                # The policy below decides what is kept, but only with a best_fn does Orbax write
                # the errors to disk, and know after a resume which checkpoint was the best.
                best_fn=lambda metrics: metrics["top1_error"],
                best_mode="min",
                preservation_policy=AnyPreservationPolicy(
                    [
                        LatestN(2),  # One to go back to, should the last be damaged.
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

        if not read_only:
            self._await_same_steps()

    @property
    def last_step(self) -> int | None:
        """Step of the last complete checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, run: SavedRun, top1_error: float | None) -> None:
        """Starts saving; the state may be donated as soon as this returns.

        Args:
          state: The state, at its step.
          run: What the run is made of, and how far it has come.
          top1_error: Validation error in percent; None within an epoch.

        Raises:
          UserError: This checkpoint or the one before could not be written.
        """
        step = int(state.step)
        with self._refuse_unwritten():
            replaces = step == self.last_step
            if replaces:  # Saved before its validation, by a run that was stopped there.
                self._manager.wait_until_finished()
                processes.from_first(lambda: self._put_aside(step))
                self._manager.reload()
                self._await_same_steps()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    opt_state=ocp.args.StandardSave(state.opt_state),
                    run=ocp.args.JsonSave({"progress": run.progress, **run.facts.to_json()}),
                ),
                metrics=None if top1_error is None else {"top1_error": top1_error},
            )
            if replaces:
                self._manager.wait_until_finished()
                processes.from_first(lambda: files.remove_tree(self._aside))

    def step_of(self, which: saved_steps.Which) -> int:
        """Returns the step of the last or the best complete checkpoint.

        Raises:
          UserError: There is none, or for the best none that was validated.
        """
        step = processes.from_first(
            lambda: self.last_step if which == "last" else self._manager.best_step()
        )
        if step is None:
            validated = "" if which == "last" else "validated "
            raise UserError(f"There is no {validated}checkpoint in {self.directory}.")
        return step

    def restore_run(self, step: int | None = None) -> SavedRun:
        """Reads what a checkpoint, by default the last, holds besides arrays.

        Raises:
          UserError: There is no checkpoint, or it is damaged; so too of the other reads.
        """
        values = self._read(step, run=ocp.args.JsonRestore()).run
        return SavedRun(RunFacts.from_json(values), values["progress"])

    def restore(self, like: TrainState) -> TrainState:
        """Reads the state of the last checkpoint, placed as `like` is, but for the step."""
        restored = self._read(
            None,
            params=ocp.args.StandardRestore(_abstract(like.params)),
            opt_state=ocp.args.StandardRestore(_abstract(like.opt_state)),
        )
        # Not put anywhere: from one device JAX can't then bring it to those of several processes.
        counter = jax.numpy.int32(self.last_step)
        return TrainState(counter, restored.params, restored.opt_state)

    def restore_params(self, like: Any, step: int | None = None) -> Any:
        """Reads the parameters of a checkpoint, by default the last, placed as `like` is."""
        return self._read(step, params=ocp.args.StandardRestore(_abstract(like))).params

    def wait(self) -> None:
        """Returns when what was given to `save` is on disk.

        Raises:
          UserError: It could not be written.
        """
        with self._refuse_unwritten():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Releases what the manager holds. Call `wait` before, to learn of what went wrong."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not is_lost(error):  # It would wait for that process to save its part.
            self.close()

    def _await_same_steps(self) -> None:
        # A process that took a step for saved when the others save it would leave them waiting.
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
        # Killed while a checkpoint was replaced: the new one counts once it is complete.
        for old in self._aside.glob("*"):
            new = self.directory / old.name
            if not saved_steps.is_complete(new):
                files.remove_tree(new)
                files.move_tree(old, new, saved_steps.COMMIT)
        files.remove_tree(self._aside)

    def _read(self, step: int | None, **items: Any) -> Any:
        step = self.step_of("last") if step is None else step
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (MemoryError, jax.errors.JaxRuntimeError):  # A full device is no damage.
            raise
        # What is missing or cut short shows as any of a dozen exceptions of Orbax and TensorStore.
        except Exception as error:
            if is_lost(error):
                raise
            raise self._unreadable(step, error) from error

    def _refuse_damaged_metrics(self) -> None:
        # Orbax reads them all at once, and its error doesn't say which one it couldn't.
        for folder in self.directory.glob("[0-9]*"):
            path = folder / "metrics" / "metrics"
            if not folder.name.isdigit() or not path.exists():
                continue
            try:
                json.loads(path.read_text())
            except ValueError as error:
                raise self._unreadable(int(folder.name), error) from error

    def _unreadable(self, step: int, error: Exception) -> UserError:
        others = [int(path.name) for path in self.directory.iterdir() if path.name.isdigit()]
        others.remove(step)
        then = f"goes on from step {max(others)}" if others else "starts anew"
        return UserError(
            f"The checkpoint {self.directory / str(step)} can't be read ({_reason(error)}).\n"
            f"If it is damaged, remove that folder; the run in {self.directory.parent} then {then}."
        )

    @contextlib.contextmanager
    def _refuse_unwritten(self) -> Iterator[None]:
        try:
            yield
        # What fails in writing shows as any of a dozen exceptions too: a full disk is an OSError
        # here and a ValueError of TensorStore there.
        except Exception as error:
            if is_lost(error):
                raise
            last = self._manager.latest_step()
            kept = "" if last is None else f" The last good one is {self.directory / str(last)}."
            raise UnwrittenError(
                f"A checkpoint could not be written to {self.directory} ({_reason(error)}).{kept}\n"
                "Make room, or see to the way there; the same command then goes on."
            ) from error


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Leaves it to `Job.all_stop` to ask.

        Orbax asks JAX at each save, by the step's number; a SIGTERM that came between its question
        and the next of `all_stop`, which counts otherwise, was never acted upon.
        """
        return False


def _reason(error: Exception) -> str:
    # TensorStore's begin with half a dozen paths, and end with what is wrong.
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text if len(text) <= 200 else '... ' + text[-160:]}"


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
