"""The training loop, and what it takes to leave it and come back."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vgg_jax.runs.state import TrainState
from vgg_jax.system.signals import StopRequest
from vgg_jax.training import metrics
from vgg_jax.training.schedule import Schedule
from vgg_jax.training.step import Batch, Metrics
from vgg_jax.training.validation import ValResult


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run needs besides its `TrainState` to go on as if it had never stopped.

    Attributes:
      schedule: As it is after the epochs that were validated.
      validation_due: An epoch's steps are done, its validation is not.
      window: The metrics of steps not yet logged: see `metrics.Window.open_values`.
    """

    schedule: Schedule
    validation_due: bool = False
    window: tuple[dict[str, float], ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any], schedule: Schedule) -> "Progress":
        """Inverts `to_json`.

        Args:
          values: What it gave.
          schedule: The run's, before the first step.
        """
        # Checkpoints that were saved when the plateau rule was the only schedule have its name.
        state = values["schedule"] if "schedule" in values else values["plateau"]
        return cls(schedule.restored(state), values["validation_due"], tuple(values["window"]))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "schedule": self.schedule.state,
            "validation_due": self.validation_due,
            "window": list(self.window),
        }


@dataclasses.dataclass(frozen=True)
class Timetable:
    """After how many steps training ends at the latest, and what is done how often until then.

    Attributes:
      num_epochs: At most.
      steps_per_epoch: Batches of an epoch.
      log_every_steps: Steps between lines of metrics.
      checkpoint_every_steps: Steps between checkpoints.
    """

    num_epochs: int
    steps_per_epoch: int
    log_every_steps: int
    checkpoint_every_steps: int

    @property
    def num_steps(self) -> int:
        """Steps at most."""
        return self.num_epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class Work:
    """What a loop does from step to step.

    Attributes:
      batches: Training batches, on the devices, from the loop's first step on.
      train_step: Takes (state, batch, learning rate) to (state, metrics).
      validate: Returns a state's validation; None where a stop was asked for on the way.
      save: Begins to save a state with its progress and, after an epoch, its top-1 error.
    """

    batches: Iterator[Batch]
    train_step: Callable[[TrainState, Batch, np.float32], tuple[TrainState, Metrics]]
    validate: Callable[[TrainState], ValResult | None]
    save: Callable[[TrainState, Progress, float | None], None]


class Loop:
    """Trains, logs, validates after each epoch and saves."""

    def __init__(
        self,
        state: TrainState,
        progress: Progress,
        timetable: Timetable,
        work: Work,
        window: metrics.Window,
        stop: StopRequest,
    ) -> None:
        """Begins where a run is.

        Args:
          state: Parameters and optimiser; donated to the first step.
          progress: How far the run has come.
          timetable: How it goes on.
          work: What is done.
          window: Gathers the metrics of steps, and has the log.
          stop: Becomes true when the run is to stop.
        """
        self._state, self._timetable, self._work = state, timetable, work
        self._window, self._stop = window, stop
        self._schedule, self._validation_due = progress.schedule, progress.validation_due
        self._done = self._saved = int(state.step)

    def run(self) -> int:
        """Trains until training ends or is stopped, and all of it is given to `Work.save`.

        Returns:
          The last step.

        Raises:
          NotFiniteError: A loss or a parameter isn't finite; none of it is saved.
        """
        while True:
            if self._validation_due and not self._stop:
                self._end_epoch()
            if self._stop and self._saved < self._done:
                self._save(None)
            if self._stop or self._has_ended():
                return self._done
            before_s = time.perf_counter()
            batch = next(self._work.batches)
            waited_s = time.perf_counter() - before_s
            rate = self._rate(self._done)
            self._state, values = self._work.train_step(self._state, batch, np.float32(rate))
            self._done += 1
            self._validation_due = self._done % self._timetable.steps_per_epoch == 0
            self._window.add(values, waited_s)
            if self._validation_due or self._done % self._timetable.log_every_steps == 0:
                self._window.end(self._done, rate)
            if (
                self._done % self._timetable.checkpoint_every_steps == 0
                and not self._validation_due
            ):
                self._save(None)

    def _rate(self, step: int) -> float:
        # A user's schedule may compute with NumPy or Optax, whose float32 is not JSON's.
        return float(self._schedule.rate(step / self._timetable.steps_per_epoch))

    def _rate_of_last_step(self) -> float:
        return self._rate(self._done - 1)

    def _has_ended(self) -> bool:
        is_last = self._schedule.ended or self._done == self._timetable.num_steps
        return is_last and not self._validation_due

    def _end_epoch(self) -> None:
        self._window.flush()
        self._refuse_not_finite()
        result = self._work.validate(self._state)
        if result is None:
            return
        if not math.isfinite(result.loss):
            raise metrics.NotFiniteError(f"The validation loss is {result.loss}{self._when()}")
        self._window.log.val(
            self._done,
            {
                "epoch": self._done // self._timetable.steps_per_epoch,
                "learning_rate": self._rate_of_last_step(),
                **dataclasses.asdict(result),
            },
        )
        self._schedule = self._schedule.after_epoch(result.top1_error)
        self._validation_due = False
        self._save(result.top1_error)

    def _save(self, top1_error: float | None) -> None:
        self._window.flush()
        self._refuse_not_finite()
        # In this order: a checkpoint without the metrics before it could not be resumed whole.
        self._window.log.sync()
        open_values = tuple(self._window.open_values())
        progress = Progress(self._schedule, self._validation_due, open_values)
        self._work.save(self._state, progress, top1_error)
        self._saved = self._done
        self._window.restart_clock()

    def _refuse_not_finite(self) -> None:
        if not _all_finite(self._state):
            raise metrics.NotFiniteError(f"A parameter is not finite{self._when()}")

    def _when(self) -> str:
        return f" after step {self._done}, at learning rate {self._rate_of_last_step():g}."


@jax.jit
def _all_finite(state: TrainState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
