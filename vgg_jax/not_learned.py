"""The advice for a run that ended before its net had learned, as small data sets often do."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vgg_jax.counted import counted
from vgg_jax.evaluation import topk
from vgg_jax.runs import run_result

# A best error above this fraction of chance counts as not learned, however many images there are.
MARGIN = 0.95

_SMALL_STEPS = "try a smaller --config.batch_size with a smaller --config.learning_rate"


def advice(c: ConfigDict, result: Mapping[str, Any]) -> str | None:
    """Returns what a run's end says if its net is hardly better than chance; otherwise None.

    Chance is the error of a guess among equally frequent classes.

    Args:
      c: The run's config.
      result: The run's result, with its last and its best validation.
    """
    best, classes = result["best"], result.get("num_classes")
    if not classes:  # An earlier version wrote it.
        return None
    error, chance = best["top1_error"], 100 * (1 - 1 / classes)
    num_images = best["num_images"]
    _, high = topk.interval(round(error * num_images / 100), num_images)
    if error < MARGIN * chance and high < chance:
        return None
    epochs = counted(int(result["last"]["epoch"]), "epochs")
    end = _end(c, epochs, run_result.ended_by_schedule(result, c.num_epochs))
    return (
        f"The net has hardly learned: its best top-1 error is {error:.2f}% of "
        f"{counted(num_images, 'images')}, and a guess among {classes} classes errs in "
        f"{chance:.2f}%. {end}"
    )


def _end(c: ConfigDict, epochs: str, ended_by_schedule: bool) -> str:
    start = (
        "start from a run of the same net that has learned: --config.init_from=WORKDIR "
        "--config.init_layers=all_but_fc8. Or "
        if c.init_from == "none"
        else ""
    )
    if not ended_by_schedule:
        further = " Or train this run further, with a larger --config.num_epochs."
        return (
            f"Training ended after its {epochs}. In a new --workdir, {start}{_SMALL_STEPS}."
            f"{further if c.schedule in ('plateau', 'constant') else ''}"
        )
    if c.schedule != "plateau":
        return f"Training ended after {epochs}. In a new --workdir, {start}try another schedule."
    patience = c.plateau.patience_epochs
    return (
        f"The plateau rule ended training after {epochs} of {c.num_epochs}. In a new --workdir, "
        f"{start}give it more time with --config.plateau.patience_epochs={3 * patience} (it was "
        f"{patience}), or {_SMALL_STEPS}."
    )
