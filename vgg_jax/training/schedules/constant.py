"""A constant rate, with an optional warm-up before it. The paper has no such schedule."""

import dataclasses

from ml_collections import ConfigDict

from vgg_jax.training import warm_up
from vgg_jax.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """A linear warm-up from 0, followed by a constant rate.

    Attributes:
      learning_rate: The rate after the warm-up.
      warmup_epochs: Epochs of the warm-up, not necessarily whole; 0 for no warm-up.
    """

    learning_rate: float
    warmup_epochs: float

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Constant":
        """Returns the schedule and checks its key."""
        constant = cls(c.learning_rate, c.constant.warmup_epochs)
        warm_up.check("constant.warmup_epochs", constant.warmup_epochs)
        return constant

    def rate(self, epochs: float) -> float:
        """Returns the rate of the step that begins after this many epochs of training."""
        return self.learning_rate * warm_up.factor(epochs, self.warmup_epochs)


SCHEDULE = Constant
