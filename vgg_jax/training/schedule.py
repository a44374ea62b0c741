"""What a schedule is. JAX isn't needed."""

import abc
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


class Schedule(abc.ABC):
    """The learning rate from step to step, and when training ends.

    One derives a frozen dataclass from it. A schedule that depends on the step alone defines
    `from_config` and `rate`; one that takes in the validation errors defines the rest too.

    Attributes:
      ended: Training is over, however many of the config's num_epochs are left.
    """

    ended: bool = False

    @classmethod
    @abc.abstractmethod
    def from_config(cls, c: ConfigDict) -> "Schedule":
        """Returns the schedule before the first step.

        Raises:
          UserError: A key that it reads has an impossible value; the message names the key and
            what to change.
        """

    @abc.abstractmethod
    def rate(self, epochs: float) -> float:
        """Returns the learning rate of the step that begins so many epochs into the training.

        Args:
          epochs: Steps done / steps of an epoch: a fraction within an epoch, and 0 at the first
            step.
        """

    def after_epoch(self, top1_error: float) -> "Schedule":
        """Returns the schedule after an epoch with that top-1 validation error (percent)."""
        del top1_error
        return self

    @property
    def state(self) -> dict[str, Any]:
        """What it remembers of the epochs, as plain JSON values: what a checkpoint keeps of it."""
        return {}

    def restored(self, state: Mapping[str, Any]) -> "Schedule":
        """Returns the schedule with the `state` of a checkpoint of the same run."""
        del state
        return self
