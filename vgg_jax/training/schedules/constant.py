"""One rate from the first step to the last, if need be after a warm-up. The paper has none such."""

import dataclasses

from ml_collections import ConfigDict

from vgg_jax.training import warm_up
from vgg_jax.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """A linear warm-up from 0, and then one rate.

    Attributes:
      learning_rate: After the warm-up.
      warmup_epochs: May be a fraction of an epoch; 0: no warm-up.
    """

    learning_rate: float
    warmup_epochs: float

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Constant":
        """Returns the schedule, and checks its key."""
        constant = cls(c.learning_rate, c.constant.warmup_epochs)
        warm_up.check("constant.warmup_epochs", constant.warmup_epochs)
        return constant

    def rate(self, epochs: float) -> float:
        """Returns the rate of the step that begins so many epochs into the training."""
        return self.learning_rate * warm_up.factor(epochs, self.warmup_epochs)


SCHEDULE = Constant
