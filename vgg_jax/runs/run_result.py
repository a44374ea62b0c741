"""The result of a finished run, or of an imported net: workdir/result.json. Needs no JAX."""

from collections.abc import Mapping
from typing import Any

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
      UserError: The file is damaged.
    """
    if not path(workdir).exists():
        return None
    return sealed_json.read(
        path(workdir),
        _checked,
        "Restore it from a copy. If the run was trained there, you may also remove the file: "
        f"python -m vgg_jax.main --workdir={workdir} then writes it again. If the net was "
        "imported, import it again.",
    )


def lacks_fc_layers(workdir: Path) -> bool:
    """Returns whether a workdir holds a net that was imported without FC layers."""
    return not (read(workdir) or {}).get("imported", {}).get("fc_layers", True)


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if "imported" in result:
        expected = {"imported": dict, "commits": list}
    else:
        expected = {"last": _VALIDATION, "best": _VALIDATION}
    sealed_json.require_types(result, expected)
    return result
