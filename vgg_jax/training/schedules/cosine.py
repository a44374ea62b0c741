"""Half a cosine, with an optional warm-up before it. The paper has no such schedule."""

import dataclasses
import math

from ml_collections import ConfigDict

from vgg_jax.errors import require
from vgg_jax.training import warm_up
from vgg_jax.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up from 0, followed by half a cosine.

    Attributes:
      learning_rate: The rate at the end of the warm-up, which is the highest.
      warmup_epochs: Epochs of the warm-up, not necessarily whole; 0 for no warm-up.
      final_rate: The rate at the end of training.
      num_epochs: Epochs from the first step to the end of training.
    """

    learning_rate: float
    warmup_epochs: float
    final_rate: float
    num_epochs: int

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Cosine":
        """Returns the schedule and checks its keys."""
        cosine = cls(c.learning_rate, c.cosine.warmup_epochs, c.cosine.final_rate, c.num_epochs)
        cosine._check()
        return cosine

    def _check(self) -> None:
        warm_up.check("cosine.warmup_epochs", self.warmup_epochs)
        require(
            self.warmup_epochs < self.num_epochs,
            f"cosine.warmup_epochs={self.warmup_epochs} must be below "
            f"num_epochs={self.num_epochs}.",
        )
        require(
            0 <= self.final_rate <= self.learning_rate,
            f"cosine.final_rate={self.final_rate} must lie between 0 and "
            f"learning_rate={self.learning_rate}.",
        )

    def rate(self, epochs: float) -> float:
        """Returns the rate of the step that begins after this many epochs of training."""
        fallen = max(0.0, epochs - self.warmup_epochs) / (self.num_epochs - self.warmup_epochs)
        share = (1 + math.cos(math.pi * fallen)) / 2
        highest = self.final_rate + share * (self.learning_rate - self.final_rate)
        return highest * warm_up.factor(epochs, self.warmup_epochs)


SCHEDULE = Cosine
