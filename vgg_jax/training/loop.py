"""The training loop, and what it takes to leave it and come back."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vgg_jax.data.crops import CropBatch
from vgg_jax.runs.state import TrainState
from vgg_jax.system.signals import StopRequest
from vgg_jax.training import metrics
from vgg_jax.training.plateau import PlateauRule, PlateauState, plateau_step
from vgg_jax.training.step import Metrics
from vgg_jax.training.validation import ValResult


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run needs besides its `TrainState` to go on as if it had never stopped.

    Attributes:
      plateau: The plateau rule's state.
      validation_due: An epoch's steps are done, its validation is not.
      window: The metrics of steps not yet logged: see `metrics.Window.open_values`.
    """

    plateau: PlateauState
    validation_due: bool = False
    window: tuple[dict[str, float], ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Inverts `dataclasses.asdict`."""
        return cls(
            PlateauState(**values["plateau"]), values["validation_due"], tuple(values["window"])
        )


@dataclasses.dataclass
class Loop:
    """Trains, logs, validates after each epoch and saves.

    Attributes:
      state: Updated as training goes.
      progress: Where training starts from.
      rule: The plateau rule.
      num_epochs, steps_per_epoch: The length of training, at most.
      checkpoint_every_steps, log_every_steps: Besides the end of each epoch.
      batches: Training batches from the state's step on.
      train_step: (state, batch, learning rate) -> (state, metrics).
      validate: (state) -> the result; None where a stop was asked for on the way.
      save: Begins to save a state with its progress and, after an epoch, its top-1 error.
      log: Where metrics go.
      batch_size: Images a step.
      stop: Becomes true when the run is to stop.
    """

    state: TrainState
    progress: Progress
    rule: PlateauRule
    num_epochs: int
    steps_per_epoch: int
    checkpoint_every_steps: int
    log_every_steps: int
    batches: Iterator[CropBatch]
    train_step: Callable[[TrainState, CropBatch, np.float32], tuple[TrainState, Metrics]]
    validate: Callable[[TrainState], ValResult | None]
    save: Callable[[TrainState, Progress, float | None], None]
    log: metrics.MetricsLog
    batch_size: int
    stop: StopRequest

    def run(self) -> int:
        """Trains until training ends or is stopped, and all of it is given to `save`.

        Returns:
          The last step.

        Raises:
          NotFiniteError: A loss or a parameter isn't finite; none of it is saved.
        """
        self._plateau = self.progress.plateau
        self._validation_due = self.progress.validation_due
        self._window = metrics.Window(
            self.log,
            batch_size=self.batch_size,
            steps_per_epoch=self.steps_per_epoch,
            values=self.progress.window,
        )
        self._done = self._saved = int(self.state.step)
        while True:
            if self._validation_due and not self.stop:
                self._end_epoch()
            if self.stop and self._saved < self._done:
                self._save(None)
            ended = self._plateau.ended or self._done == self.num_epochs * self.steps_per_epoch
            if self.stop or (ended and not self._validation_due):
                return self._done
            self._step()
            if self._done % self.checkpoint_every_steps == 0 and not self._validation_due:
                self._save(None)

    def _step(self) -> None:
        before = time.perf_counter()
        batch = next(self.batches)
        waited_s = time.perf_counter() - before
        rate = self._plateau.learning_rate
        self.state, step_metrics = self.train_step(self.state, batch, np.float32(rate))
        self._window.add(step_metrics, waited_s)
        self._done += 1
        self._validation_due = self._done % self.steps_per_epoch == 0
        if self._validation_due or self._done % self.log_every_steps == 0:
            self._window.end(self._done, rate)

    def _end_epoch(self) -> None:
        self._window.flush()
        self._refuse_not_finite()
        result = self.validate(self.state)
        if result is None:
            return
        if not math.isfinite(result.loss):
            raise metrics.NotFiniteError(f"The validation loss is {result.loss}{self._when()}")
        self.log.val(
            self._done,
            {
                "epoch": self._done // self.steps_per_epoch,
                "learning_rate": self._plateau.learning_rate,
                **dataclasses.asdict(result),
            },
        )
        self._plateau = plateau_step(self.rule, self._plateau, result.top1_error)
        self._validation_due = False
        self._save(result.top1_error)

    def _save(self, top1_error: float | None) -> None:
        self._window.flush()
        self._refuse_not_finite()
        # In this order: a checkpoint without the metrics before it could not be resumed whole.
        self.log.sync()
        values = tuple(self._window.open_values())
        self.save(self.state, Progress(self._plateau, self._validation_due, values), top1_error)
        self._saved = self._done
        self._window.restart_clock()

    def _refuse_not_finite(self) -> None:
        if not _all_finite(self.state):
            raise metrics.NotFiniteError(f"A parameter is not finite{self._when()}")

    def _when(self) -> str:
        return f" after step {self._done}, at learning rate {self._plateau.learning_rate:g}."


@jax.jit
def _all_finite(state: TrainState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
