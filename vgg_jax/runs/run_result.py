"""The result of a finished run, or of an imported net: workdir/result.json. Needs no JAX."""

import functools
from collections.abc import Mapping
from typing import Any

from vgg_jax.runs import saved_steps
from vgg_jax.storage import sealed_json
from vgg_jax.storage.files import Path

_NUMBER = (int, float)
_VALIDATION = {"step": int, "epoch": _NUMBER, "num_images": int} | {
    f"top{k}_error": _NUMBER for k in (1, 5)
}


def path(workdir: Path) -> Path:
    """Returns the path of a workdir's result."""
    return workdir / "result.json"


def write(workdir: Path, result: Mapping[str, Any]) -> None:
    """Writes the result of a run."""
    sealed_json.write(path(workdir), result)


def remove(workdir: Path) -> None:
    """Removes the result of a run that goes on, if there is one."""
    path(workdir).unlink(missing_ok=True)


def read(workdir: Path) -> dict[str, Any] | None:
    """Reads the result of the run in a workdir; returns None if it isn't finished.

    Raises:
      UserError: The file is damaged, or not of the checkpoints in the workdir.
    """
    if not path(workdir).exists():
        return None
    return sealed_json.read(
        path(workdir),
        functools.partial(_checked, saved_steps.last_checkpoint(workdir)),
        "Restore it from a copy. If the run was trained there, you may also remove the file: "
        f"python -m vgg_jax.main --workdir={workdir} then writes it again. If the net was "
        "imported, import it again.",
    )


def ended_by_schedule(result: Mapping[str, Any], num_epochs: int) -> bool:
    """Returns whether a run's schedule ended training, perhaps in the last of `num_epochs`."""
    return result["last"]["epoch"] < num_epochs or result.get("ended_by_schedule", False)


def is_of_import(workdir: Path) -> bool:
    """Returns whether a workdir holds an imported net."""
    return "imported" in (read(workdir) or {})


def lacks_fc_layers(workdir: Path) -> bool:
    """Returns whether a workdir holds a net that was imported without FC layers."""
    return not (read(workdir) or {}).get("imported", {}).get("fc_layers", True)


def _checked(checkpoint: Path | None, result: dict[str, Any]) -> dict[str, Any]:
    if "imported" in result:
        sealed_json.require_types(result, {"imported": dict, "commits": list})
        return result
    sealed_json.require_types(result, {"last": _VALIDATION, "best": _VALIDATION})
    if checkpoint is not None:  # Without any, the result may have been kept alone.
        _refuse_other(result["last"], checkpoint)
    return result


def _refuse_other(last: Mapping[str, Any], checkpoint: Path) -> None:
    if last["step"] != int(checkpoint.name):
        raise ValueError(f"it ends at step {last['step']}, but the last checkpoint is {checkpoint}")
    if saved_steps.top1_error(checkpoint) not in (None, last["top1_error"]):
        raise ValueError(f"its last error, {last['top1_error']}%, is not that of {checkpoint}")
