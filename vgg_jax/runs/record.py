"""The contents of a checkpoint that are not arrays, and the digests of its arrays."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from vgg_jax.errors import some_of
from vgg_jax.runs import digests, saved_steps
from vgg_jax.runs.facts import RunFacts
from vgg_jax.storage import sealed_json
from vgg_jax.storage.files import Path


class SavedRun(NamedTuple):
    """The contents of a checkpoint that are not arrays.

    Attributes:
      facts: The values that are needed to use the net.
      progress: Plain values that are also needed to go on with the run.
    """

    facts: RunFacts
    progress: Mapping[str, Any]


class Record(NamedTuple):
    """The file of a checkpoint that describes it.

    Attributes:
      run: The run's facts and progress.
      digests: The digests of the arrays by item ("params", "opt_state"), then by name: see
        `digests.of_tree`. None if an earlier version wrote it.
    """

    run: SavedRun
    digests: Mapping[str, Mapping[str, str]] | None

    def check(self, item: str, tree: Any) -> None:
        """Checks that arrays are those that were saved.

        Args:
          item: "params" or "opt_state".
          tree: The arrays of the item.

        Raises:
          ValueError: An array differs; the message names it.
        """
        if self.digests is None:
            return
        ours, theirs = digests.of_tree(tree), self.digests[item]
        differing = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        if differing:
            raise ValueError(f"{item}: the digest of {some_of(differing)} differs")


def to_json(
    run: SavedRun, step: int, top1_error: float | None, arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the values of the file, sealed.

    Args:
      run: The run's facts and progress.
      step: The step of the checkpoint.
      top1_error: See `Checkpoints.save`.
      arrays: The trees of arrays, by item.
    """
    return sealed_json.seal(
        {
            "step": step,
            "top1_error": top1_error,
            "progress": run.progress,
            **run.facts.to_json(),
            "digests": {item: digests.of_tree(tree) for item, tree in arrays.items()},
        }
    )


def read(checkpoint: Path) -> Record:
    """Reads the file in a checkpoint, given by its folder STEP, and checks what it says.

    Raises:
      Exception: It is missing or damaged, or belongs to another step: see `sealed_json.reason`.
    """
    path, metrics = checkpoint / "run" / "metadata", checkpoint / "metrics" / "metrics"
    values = sealed_json.unseal(sealed_json.load(path), path)
    top1_error = _top1_error(sealed_json.load(metrics)) if metrics.exists() else None
    if "digests" in values:
        if values["step"] != int(checkpoint.name):
            raise ValueError(f"it holds step {values['step']}: its folder was renamed")
        if values["top1_error"] != top1_error:
            raise ValueError(f"the error in {metrics} is not {values['top1_error']}")
    sealed_json.require_types(values, {"progress": dict, "class_names": list, "mean_rgb": list})
    facts = RunFacts.from_json(values)
    if not (len(facts.mean_rgb) == 3 and all(map(math.isfinite, facts.mean_rgb))):
        raise ValueError(f"its mean RGB is {facts.mean_rgb}")
    return Record(SavedRun(facts, values["progress"]), values.get("digests"))


def last_progress(workdir: Path) -> Mapping[str, Any]:
    """Returns the progress in the last checkpoint of a workdir; empty if it can't be read."""
    checkpoint = saved_steps.last_checkpoint(workdir)
    try:
        return {} if checkpoint is None else read(checkpoint).run.progress
    except Exception:  # It was removed meanwhile, or is damaged: whoever restores it says so.
        return {}


def _top1_error(metrics: Any) -> float:
    sealed_json.require_types(metrics, {"top1_error": (int, float)})
    return metrics["top1_error"]
