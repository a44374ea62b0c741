"""The warning that a net does not learn, or learns the wrong way, and what to do about it."""

import math
import statistics

from ml_collections import ConfigDict

from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import config_files
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics_file

# A net that gives all classes the same probability has a loss of ln(classes). A loss that
# differs from it by at most this fraction counts as chance.
MARGIN = 0.01

# A training loss of so many times that of chance was seen before a net's values overflowed.
FAR_ABOVE = 5.0

_SAID_EVERY = 10  # Epochs.
_FAR_ABOVE_TEXT = (
    "The training loss was {loss:,.3g} at the end of epoch {epoch}, far above ln({classes}) = "
    "{chance:.3f}, which a guess has: the steps are too large. If it doesn't fall, use a new "
    "--workdir with a smaller --config.learning_rate."
)
_AT_CHANCE_TEXT = (
    "The training loss stayed within 1% of ln({classes}) = {chance:.3f} in epoch {epoch}: the net "
    "has not begun to learn.\n  {remedy}"
)


def warning(
    workdir: Path,
    c: ConfigDict,
    *,
    epoch: int,
    steps_per_epoch: int,
    num_classes: int,
    val_loss: float,
) -> str | None:
    """Returns the warning to print after an epoch; None if there is nothing to say.

    What stays true is said again only every tenth epoch. If the classes have very different sizes,
    a net that has learned only these sizes has a lower loss than ln(classes), and isn't noticed.

    Args:
      workdir: The folder whose metrics.jsonl holds the epoch.
      c: The run's config, which decides the remedy.
      epoch: The epoch, counted from 1.
      steps_per_epoch: Steps per epoch.
      num_classes: Classes of the data set.
      val_loss: The validation loss after the epoch. Where it is below chance, the net has begun to
        learn, although dropout may still keep the training loss at chance.
    """
    records = metrics_file.read(workdir, "train")
    this, before = (
        [r["loss"] for r in records if end - steps_per_epoch < r["step"] <= end]
        for end in (epoch * steps_per_epoch, (epoch - 1) * steps_per_epoch)
    )
    at_chance = math.log(num_classes)
    looks = [(_is_far_above, _FAR_ABOVE_TEXT)]
    if not val_loss < (1 - MARGIN) * at_chance:
        looks.append((_is_at_chance, _AT_CHANCE_TEXT))
    for is_true, text in looks:
        if is_true(this, at_chance):
            if is_true(before, at_chance) and epoch % _SAID_EVERY:
                return None
            return text.format(
                loss=this[-1], classes=num_classes, chance=at_chance, epoch=epoch, remedy=_remedy(c)
            )
    return None


def _is_far_above(losses: list[float], at_chance: float) -> bool:
    return bool(losses) and losses[-1] > FAR_ABOVE * at_chance


def _is_at_chance(losses: list[float], at_chance: float) -> bool:
    # Not the mean, because the first window after He's initialisation was seen 24% above. The last
    # window counts by itself, because a net that begins to learn late in the epoch has begun.
    return bool(losses) and all(
        abs(loss / at_chance - 1) <= MARGIN for loss in (statistics.median(losses), losses[-1])
    )


def _remedy(c: ConfigDict) -> str:
    if c.init_from == "none" and (c.init != "he" or net_settings.input_scale(c) == 1):
        return (
            "With this initialisation, nets of this depth may never begin to learn. In a new "
            "--workdir, leave --config.init and --config.input_scale at their defaults (he, 0)."
        )
    if c.init_from == "none" and c.net not in ("A", "A-LRN"):
        _, plain = config_files.of_run(c.name) or ("", None)
        source = plain.init_from if plain and plain.init_layers == "preinit" else "WORKDIR_OF_A"
        return (
            "A deep net with random weights takes long to begin. In a new --workdir, start from a "
            f"trained A, as the paper does: --config.init_from={source} "
            "--config.init_layers=preinit."
        )
    return (
        "This may happen in the first thousand steps. If it lasts, use a new --workdir with a "
        "smaller --config.batch_size, for more steps per epoch, and with it a smaller "
        "--config.learning_rate."
    )
