"""Says that a net has not begun to learn, and what to do."""

import math
import statistics

from ml_collections import ConfigDict

from vgg_jax.nets import settings as net_settings
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics

# The loss of a net that gives all classes the same probability is ln(classes); this is the part
# of it that a loss may be off.
MARGIN = 0.01


def warning(
    workdir: Path, c: ConfigDict, *, epoch: int, steps_per_epoch: int, num_classes: int
) -> str | None:
    """Returns what to print after an epoch; None where the training loss has left ln(classes).

    With classes of very different sizes a net that has learned nothing but these comes to lie
    below ln(classes), unnoticed.

    Args:
      workdir: Whose metrics.jsonl holds the epoch.
      c: The run's config, from which the remedies follow.
      epoch: From 1.
      steps_per_epoch: Steps an epoch.
      num_classes: Classes of the data set.
    """
    first, last = (epoch - 1) * steps_per_epoch, epoch * steps_per_epoch
    losses = [r["loss"] for r in metrics.read(workdir, "train") if first < r["step"] <= last]
    at_chance = math.log(num_classes)
    if not losses:  # Somebody removed the log.
        return None
    # Not the mean: a first window from He's initialisation was seen 24% above. The last one too,
    # since a net that begins late in the epoch has begun.
    if any(abs(loss / at_chance - 1) > MARGIN for loss in (statistics.median(losses), losses[-1])):
        return None
    return (
        f"The training loss stayed within 1% of ln({num_classes}) = {at_chance:.3f} in epoch "
        f"{epoch}: the net has not begun to learn.\n  {_remedy(c)}"
    )


def _remedy(c: ConfigDict) -> str:
    if c.init_from == "none" and (c.init != "he" or net_settings.input_scale(c) == 1):
        return (
            "Initialised so, nets of this depth may never begin to. In a new --workdir, leave "
            "--config.init and --config.input_scale at their defaults (he, 0)."
        )
    if c.init_from == "none" and c.net not in ("A", "A-LRN"):
        return (
            "A deep net takes long to begin from random weights. In a new --workdir, start from a "
            "trained A, as the paper does: --config.init_from=a_256 --config.init_layers=preinit."
        )
    return (
        "The first thousand steps may pass so. If it lasts, try a smaller --config.batch_size, for "
        "more steps an epoch, or another --config.learning_rate, in a new --workdir."
    )
