"""Schedules: what the learning rate is, and when training ends. The paper's is a rule (§3.1).

JAX isn't needed. A rule has a state before the first epoch, and takes in each epoch's error.
"""

import dataclasses

from ml_collections import ConfigDict

from vgg_jax.errors import require


@dataclasses.dataclass(frozen=True)
class PlateauState:
    """What the plateau rule remembers from epoch to epoch.

    Attributes:
      learning_rate: The next epoch's.
      best_error: Lowest top-1 validation error, in percent. It persists across drops.
      epochs_since_best: Epochs since that error, or since the last drop.
      ended: Training is over.
    """

    learning_rate: float
    best_error: float = 100.0
    epochs_since_best: int = 0
    ended: bool = False


@dataclasses.dataclass(frozen=True)
class PlateauRule:
    """When the learning rate drops and when training ends (§3.1).

    Attributes:
      patience_epochs: Epochs without an improvement after which the rate drops.
      min_improvement: In points (percent) of top-1 error, below the best error seen.
      factor: What a drop multiplies the rate by.
      last_rate: The lowest rate. A plateau at it ends training.
    """

    patience_epochs: int = 5
    min_improvement: float = 0.1
    factor: float = 0.1
    last_rate: float = 1e-5

    def begin(self, learning_rate: float) -> PlateauState:
        """Returns the state before the first epoch."""
        return PlateauState(learning_rate)

    def after_epoch(self, state: PlateauState, error: float) -> PlateauState:
        """Takes in an epoch's top-1 validation error (percent) and decides the next one's rate."""
        # The tolerance keeps an improvement of exactly 0.1 points one in floating point.
        if error <= state.best_error - self.min_improvement + 1e-9:
            return dataclasses.replace(state, best_error=error, epochs_since_best=0)
        epochs = state.epochs_since_best + 1
        if epochs < self.patience_epochs:
            return dataclasses.replace(state, epochs_since_best=epochs)
        rate = state.learning_rate * self.factor
        if rate < self.last_rate * (1 - 1e-6):
            return dataclasses.replace(state, epochs_since_best=epochs, ended=True)
        return dataclasses.replace(state, learning_rate=rate, epochs_since_best=0)


def check(c: ConfigDict) -> None:
    """Checks the keys of the schedule.

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    plateau = c.plateau
    require(plateau.patience_epochs >= 1, "plateau.patience_epochs must be at least 1.")
    require(plateau.min_improvement >= 0, "plateau.min_improvement must be 0 or above.")
    require(0 < plateau.factor < 1, f"plateau.factor={plateau.factor} must lie between 0 and 1.")
    require(
        0 < plateau.last_rate <= c.learning_rate,
        f"plateau.last_rate={plateau.last_rate} must lie between 0 and "
        f"learning_rate={c.learning_rate}.",
    )


def from_config(c: ConfigDict) -> PlateauRule:
    """Returns the schedule that a config describes."""
    return PlateauRule(**c.plateau)
