"""The paper's schedule: the rate drops when the validation error stops improving (§3.1)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vgg_jax.errors import require
from vgg_jax.training.schedule import Schedule

_REMEMBERED = ("learning_rate", "best_error", "epochs_since_best", "ended")


@dataclasses.dataclass(frozen=True)
class Plateau(Schedule):
    """The rule that lowers the learning rate and ends training (§3.1).

    Attributes:
      learning_rate: The rate of the next epoch.
      patience_epochs: Epochs without an improvement after which the rate drops.
      min_improvement: The smallest improvement on the best error that counts, in points (percent).
      factor: The factor that a drop multiplies the rate by.
      last_rate: The lowest rate. A plateau at this rate ends training.
      best_error: Top-1 validation error of the last improvement, in percent. Drops don't reset it.
      epochs_since_best: Epochs since the best error or the last drop, whichever came later.
      ended: Whether training is over.
    """

    learning_rate: float
    patience_epochs: int
    min_improvement: float
    factor: float
    last_rate: float
    best_error: float = 100.0
    epochs_since_best: int = 0
    ended: bool = False

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Plateau":
        """Returns the rule before the first epoch and checks its keys."""
        plateau = cls(
            learning_rate=c.learning_rate,
            patience_epochs=c.plateau.patience_epochs,
            min_improvement=c.plateau.min_improvement,
            factor=c.plateau.factor,
            last_rate=c.plateau.last_rate,
        )
        plateau._check()
        return plateau

    def _check(self) -> None:
        require(self.patience_epochs >= 1, "plateau.patience_epochs must be at least 1.")
        require(
            0 <= self.min_improvement < 100,
            f"plateau.min_improvement={self.min_improvement} must be 0 or above, in points of the "
            "error in percent, and below 100: no error falls by more.",
        )
        require(0 < self.factor < 1, f"plateau.factor={self.factor} must be above 0 and below 1.")
        require(
            0 < self.last_rate <= self.learning_rate,
            f"plateau.last_rate={self.last_rate} must be above 0 and at most "
            f"learning_rate={self.learning_rate}.",
        )

    def rate(self, epochs: float) -> float:
        """Returns the rate, which stays the same within an epoch."""
        del epochs
        return self.learning_rate

    def after_epoch(self, top1_error: float) -> "Plateau":
        """Returns the rule after an epoch with this top-1 validation error (percent)."""
        # The tolerance lets an improvement of exactly 0.1 points count despite rounding.
        if top1_error <= self.best_error - self.min_improvement + 1e-9:
            return dataclasses.replace(self, best_error=top1_error, epochs_since_best=0)
        epochs = self.epochs_since_best + 1
        if epochs < self.patience_epochs:
            return dataclasses.replace(self, epochs_since_best=epochs)
        rate = self.learning_rate * self.factor
        if rate < self.last_rate * (1 - 1e-6):
            return dataclasses.replace(self, epochs_since_best=epochs, ended=True)
        return dataclasses.replace(self, learning_rate=rate, epochs_since_best=0)

    @property
    def state(self) -> dict[str, Any]:
        """The rate, the best error, the epochs since then, and whether training is over."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def restored(self, state: Mapping[str, Any]) -> "Plateau":
        """Returns the rule with the `state` from a checkpoint of the same run."""
        return dataclasses.replace(self, **state)


SCHEDULE = Plateau
