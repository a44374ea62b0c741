"""The warning that a net does not learn, or learns the wrong way, and what to do about it."""

import math
import statistics

from ml_collections import ConfigDict

from vgg_jax.nets import settings as net_settings
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics_file

# A net that gives all classes the same probability has a loss of ln(classes). A loss that
# differs from it by at most this fraction counts as chance.
MARGIN = 0.01

# A training loss of so many times that of chance was seen before a net's values overflowed.
FAR_ABOVE = 5.0


def warning(
    workdir: Path, c: ConfigDict, *, epoch: int, steps_per_epoch: int, num_classes: int
) -> str | None:
    """Returns the warning to print after an epoch; None if there is nothing to say.

    If the classes have very different sizes, a net that has learned only these sizes has a lower
    loss than ln(classes), and isn't noticed.

    Args:
      workdir: The folder whose metrics.jsonl holds the epoch.
      c: The run's config, which decides the remedy.
      epoch: The epoch, counted from 1.
      steps_per_epoch: Steps per epoch.
      num_classes: Classes of the data set.
    """
    first, last = (epoch - 1) * steps_per_epoch, epoch * steps_per_epoch
    losses = [r["loss"] for r in metrics_file.read(workdir, "train") if first < r["step"] <= last]
    at_chance = math.log(num_classes)
    if not losses:  # Somebody removed the log.
        return None
    if losses[-1] > FAR_ABOVE * at_chance:
        return (
            f"The training loss was {losses[-1]:,.3g} at the end of epoch {epoch}, far above "
            f"ln({num_classes}) = {at_chance:.3f}, which a guess has: the steps are too large. If "
            "it doesn't fall, use a new --workdir with a smaller --config.learning_rate."
        )
    # Not the mean, because the first window after He's initialisation was seen 24% above. The last
    # window counts by itself, because a net that begins to learn late in the epoch has begun.
    if any(abs(loss / at_chance - 1) > MARGIN for loss in (statistics.median(losses), losses[-1])):
        return None
    return (
        f"The training loss stayed within 1% of ln({num_classes}) = {at_chance:.3f} in epoch "
        f"{epoch}: the net has not begun to learn.\n  {_remedy(c)}"
    )


def _remedy(c: ConfigDict) -> str:
    if c.init_from == "none" and (c.init != "he" or net_settings.input_scale(c) == 1):
        return (
            "With this initialisation, nets of this depth may never begin to learn. In a new "
            "--workdir, leave --config.init and --config.input_scale at their defaults (he, 0)."
        )
    if c.init_from == "none" and c.net not in ("A", "A-LRN"):
        return (
            "A deep net with random weights takes long to begin. In a new --workdir, start from a "
            "trained A, as the paper does: --config.init_from=a_256 --config.init_layers=preinit."
        )
    return (
        "This may happen in the first thousand steps. If it lasts, use a new --workdir with a "
        "smaller --config.batch_size, for more steps per epoch, and with it a smaller "
        "--config.learning_rate."
    )
