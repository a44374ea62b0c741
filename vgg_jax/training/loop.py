"""The training loop, and the progress that it needs to resume."""

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
from vgg_jax.training.metrics_window import NotFiniteError, Window
from vgg_jax.training.schedule import Schedule
from vgg_jax.training.step import Batch, Metrics
from vgg_jax.training.validation import ValResult


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run. With this and the `TrainState`, the run resumes as if never stopped.

    Attributes:
      schedule: The schedule after the epochs that were validated.
      validation_due: Whether the steps of an epoch are done, but its validation is not.
      window: The metrics of steps that aren't logged yet: see `Window.open_values`.
    """

    schedule: Schedule
    validation_due: bool = False
    window: tuple[dict[str, float], ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any], schedule: Schedule) -> "Progress":
        """Returns the progress that `to_json` was called on.

        Args:
          values: The values that `to_json` returned.
          schedule: The run's schedule before the first step.
        """
        # Checkpoints from when the plateau rule was the only schedule have the key "plateau".
        state = values["schedule"] if "schedule" in values else values["plateau"]
        return cls(schedule.restored(state), values["validation_due"], tuple(values["window"]))

    def to_json(self) -> dict[str, Any]:
        """Returns the progress as plain JSON values."""
        return {
            "schedule": self.schedule.state,
            "validation_due": self.validation_due,
            "window": list(self.window),
        }


@dataclasses.dataclass(frozen=True)
class Timetable:
    """The length of a run, and how often it logs and saves.

    Attributes:
      num_epochs: Epochs after which training ends, if the schedule doesn't end it sooner.
      steps_per_epoch: Steps per epoch, one for each batch.
      log_every_steps: Steps between lines of metrics.
      checkpoint_every_steps: Steps between checkpoints.
    """

    num_epochs: int
    steps_per_epoch: int
    log_every_steps: int
    checkpoint_every_steps: int

    @property
    def num_steps(self) -> int:
        """Steps after which training ends, if the schedule doesn't end it sooner."""
        return self.num_epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class Work:
    """The batches and functions that a loop works with.

    Attributes:
      batches: The training batches from the loop's first step on, on the devices.
      train_step: Maps (state, batch, learning rate) to (state, metrics).
      validate: Validates a state; returns None if a stop was requested meanwhile.
      save: Begins to save a state with its progress and, after an epoch, its top-1 error.
    """

    batches: Iterator[Batch]
    train_step: Callable[[TrainState, Batch, np.float32], tuple[TrainState, Metrics]]
    validate: Callable[[TrainState], ValResult | None]
    save: Callable[[TrainState, Progress, float | None], None]


class Loop:
    """The loop that trains, logs, validates after each epoch and saves."""

    def __init__(
        self,
        state: TrainState,
        progress: Progress,
        timetable: Timetable,
        work: Work,
        window: Window,
        stop: StopRequest,
    ) -> None:
        """Prepares to train from a state.

        Args:
          state: The parameters and the optimiser's state. They are donated to the first step.
          progress: The progress that belongs to the state.
          timetable: The run's length, and how often it logs and saves.
          work: The batches and functions to work with.
          window: Collects the metrics of the steps; its log also takes the validations.
          stop: Becomes true when the run must stop.
        """
        self._state, self._timetable, self._work = state, timetable, work
        self._window, self._stop = window, stop
        self._schedule, self._validation_due = progress.schedule, progress.validation_due
        self._done = self._saved = int(state.step)
        self._has_compiled = False

    def run(self) -> int:
        """Trains until training ends or is stopped, and saves the last state.

        Returns:
          The last step.

        Raises:
          NotFiniteError: A loss or a parameter isn't finite; this state isn't saved.
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
            values = self._train_step(batch, rate)
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

    def _train_step(self, batch: Batch, rate: float) -> Metrics:
        begin_s = time.monotonic()
        self._state, values = self._work.train_step(self._state, batch, np.float32(rate))
        if not self._has_compiled:  # The call returned before the devices computed the step.
            self._has_compiled = True
            self._window.log.compiled(time.monotonic() - begin_s)
        return values

    def _rate(self, step: int) -> float:
        # A user's schedule may return a float32 of NumPy or JAX, which JSON can't hold.
        return float(self._schedule.rate(step / self._timetable.steps_per_epoch))

    def _rate_of_last_step(self) -> float:
        return self._rate(self._done - 1)

    @property
    def ended_by_schedule(self) -> bool:
        """Whether the schedule has ended training, perhaps in the last epoch."""
        return bool(self._schedule.ended)

    def _has_ended(self) -> bool:
        is_last = self.ended_by_schedule or self._done == self._timetable.num_steps
        return is_last and not self._validation_due

    def _end_epoch(self) -> None:
        self._window.flush()
        self._refuse_not_finite()
        result = self._work.validate(self._state)
        if result is None:
            return
        if not math.isfinite(result.loss):
            raise NotFiniteError(f"The validation loss is {result.loss}{self._when()}")
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
        # The log comes first: a run whose checkpoint is ahead of its log would lose metrics.
        self._window.log.sync()
        open_values = tuple(self._window.open_values())
        progress = Progress(self._schedule, self._validation_due, open_values)
        self._work.save(self._state, progress, top1_error)
        self._saved = self._done
        self._window.restart_clock()

    def _refuse_not_finite(self) -> None:
        if not _all_finite(self._state):
            raise NotFiniteError(f"A parameter is not finite{self._when()}")

    def _when(self) -> str:
        return f" after step {self._done}, at learning rate {self._rate_of_last_step():g}."


@jax.jit
def _all_finite(state: TrainState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
