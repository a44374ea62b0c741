"""The windows of steps whose metrics are averaged into one record of the log."""

import collections
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vgg_jax.errors import UserError
from vgg_jax.nets.sharding import STEPS_IN_FLIGHT
from vgg_jax.training.metrics import MetricsLog


class NotFiniteError(UserError):
    """The loss or a parameter became infinite or NaN."""


class Window:
    """The steps whose metrics are averaged into one record of the log.

    The metrics are only fetched when the next window is full. The device has computed them long
    before, so no step waits for the host.
    """

    def __init__(
        self,
        log: MetricsLog,
        *,
        batch_size: int,
        steps_per_epoch: int,
        values: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Begins a window.

        Args:
          log: The log for the windows' means.
          batch_size: Images per step.
          steps_per_epoch: Steps per epoch.
          values: The values of `open_values` when the run was saved within a window.
        """
        self.log = log
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._in_flight: collections.deque[jax.Array] = collections.deque()
        self._compiled = False
        self._full: tuple[int, list[Mapping[str, Any]], dict[str, float]] | None = None
        self._values: list[Mapping[str, Any]] = list(values)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Excludes the time until now from the rates, because it wasn't spent on training."""
        self._in_flight.clear()
        self._reset_rates()

    def _reset_rates(self) -> None:
        self._waited_s = 0.0
        self._timed_steps = 0
        self._started = time.perf_counter()

    def add(self, metrics: Mapping[str, jax.Array], waited_s: float) -> None:
        """Adds the metrics of a step, which may still run, and the seconds waited for its input."""
        self._values.append(metrics)
        self._in_flight.append(metrics["loss"])
        if not self._compiled:
            # The first step includes compilation, whose time would distort the rates.
            metrics["loss"].block_until_ready()
            self._compiled = True
            self.log.advance()
            self.restart_clock()
            return
        self._waited_s += waited_s
        if len(self._in_flight) > STEPS_IN_FLIGHT:
            self._in_flight.popleft().block_until_ready()
            self.log.advance()
            self._timed_steps += 1  # Counted when done, because dispatching takes no time.

    def end(self, step: int, learning_rate: float) -> None:
        """Closes the window at a step, and logs the previous one."""
        self.flush()
        elapsed = time.perf_counter() - self._started
        rates = {
            "epoch": step / self._steps_per_epoch,
            "learning_rate": learning_rate,
        }
        if self._timed_steps:
            rates["images_per_s"] = self._timed_steps * self._batch_size / elapsed
            rates["input_wait_share"] = self._waited_s / elapsed
        self._full = (step, self._values, rates)
        self._values = []
        self._reset_rates()

    def flush(self) -> None:
        """Logs the window that is closed but not logged yet, and waits for its values.

        Raises:
          NotFiniteError: The window's mean of a metric is not finite; nothing is logged.
        """
        if self._full is None:
            return
        (step, values, rates), self._full = self._full, None
        values = _floats(values)
        means = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
        for name, mean in means.items():
            if not math.isfinite(mean):
                first = step - len(values) + 1
                steps = f"step {step}" if first == step else f"steps {first} to {step}"
                raise NotFiniteError(
                    f"The {name} is {mean} in {steps}, at learning rate {rates['learning_rate']:g}."
                )
        self.log.train(step, {**means, **rates})

    def open_values(self) -> list[dict[str, float]]:
        """Returns the values of the open window, for a run that is saved and resumed within it."""
        return _floats(self._values)


def _floats(values: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    # Not float32: JSON gives Python's floats back, and the means of both must agree to the bit.
    return [{k: float(v) for k, v in step.items()} for step in jax.device_get(list(values))]
