"""The warm-up that several schedules share. The paper has none."""

import math

from vgg_jax.errors import require


def check(key: str, warmup_epochs: float) -> None:
    """Checks the value of a key that gives the length of a warm-up.

    Raises:
      UserError: The length is negative or not finite.
    """
    require(
        0 <= warmup_epochs < math.inf, f"{key}={warmup_epochs} must be a finite number, 0 or above."
    )


def factor(epochs: float, warmup_epochs: float) -> float:
    """Returns the factor of the rate, which rises linearly from 0 to 1 and stays there.

    Args:
      epochs: Epochs since the first step.
      warmup_epochs: Epochs until the factor is 1; 0 if it is 1 from the first step on.
    """
    return min(1.0, epochs / warmup_epochs) if warmup_epochs else 1.0
