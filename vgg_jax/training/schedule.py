"""The base class of all schedules. This module needs no JAX."""

import abc
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


class Schedule(abc.ABC):
    """The learning rate from step to step, and when training ends.

    A schedule is a frozen dataclass that derives from this class. If it depends on the step alone,
    it defines `from_config` and `rate`; if it uses the validation errors, it also defines the rest.

    Attributes:
      ended: Whether training is over, even if some of the config's num_epochs are left.
    """

    ended: bool = False

    @classmethod
    @abc.abstractmethod
    def from_config(cls, c: ConfigDict) -> "Schedule":
        """Returns the schedule before the first step.

        Raises:
          UserError: A key of the schedule has an impossible value; the message names the key and
            what to change.
        """

    @abc.abstractmethod
    def rate(self, epochs: float) -> float:
        """Returns the learning rate of the step that begins after this many epochs of training.

        Args:
          epochs: Steps done, divided by the steps per epoch: 0 at the first step, and not a whole
            number within an epoch.
        """

    def after_epoch(self, top1_error: float) -> "Schedule":
        """Returns the schedule after an epoch with that top-1 validation error (percent)."""
        del top1_error
        return self

    @property
    def state(self) -> dict[str, Any]:
        """The schedule's memory of past epochs, as plain JSON values for a checkpoint."""
        return {}

    def restored(self, state: Mapping[str, Any]) -> "Schedule":
        """Returns the schedule with the `state` from a checkpoint of the same run."""
        del state
        return self
