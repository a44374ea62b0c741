"""Writes the result and the learning curves of a run that has ended."""

from typing import Any

from ml_collections import ConfigDict

from vgg_jax.nets.label_rank import has_top5
from vgg_jax.runs import run_result
from vgg_jax.runs.facts import RunFacts
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics_file


def write(c: ConfigDict, workdir: Path, facts: RunFacts, ended_by_schedule: bool) -> dict[str, Any]:
    """Writes curves.png and result.json into the workdir of a run.

    Args:
      c: The run's config.
      workdir: The workdir, which holds the run's metrics.
      facts: The run's facts.
      ended_by_schedule: Whether the schedule ended training, perhaps in the last epoch.

    Returns:
      The result.
    """
    # Imported here, because Matplotlib takes half a second.
    from vgg_jax.plots import curves, picture_file

    history = metrics_file.read(workdir, "val")
    # If errors are equal, the last counts as the best, as in `Checkpoints`.
    last, best = history[-1], min(reversed(history), key=lambda record: record["top1_error"])
    title = f"{c.name}: net {c.net}, top-1 error {last['top1_error']:.2f}%"
    with_top5 = has_top5(len(facts.class_names))
    train = metrics_file.read(workdir, "train")
    figure = curves.figure(train, history, title, with_top5=with_top5)
    picture_file.write(figure, workdir / "curves.png", dpi=110)
    keys = ("commits", "train_fingerprint", "val_fingerprint")
    values = facts.to_json()
    result = {"last": last, "best": best, "num_classes": len(facts.class_names)}
    result["ended_by_schedule"] = ended_by_schedule
    result |= {key: values[key] for key in keys}
    run_result.write(workdir, result)
    return result
