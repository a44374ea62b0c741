"""Checks all that a checkpoint holds, without the config of its run."""

import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp

from vgg_jax.runs import record, run_result
from vgg_jax.storage import files, sealed_json, unread
from vgg_jax.storage.files import Path

ITEMS = ("params", "opt_state")


def damage(checkpoint: Path) -> str | None:
    """Returns what is wrong with a checkpoint, given by its folder STEP; None if nothing is.

    Only one process may call this. It reads one item after the other onto the first device.
    """
    if forbidden := unread.forbidden_below(checkpoint):
        return forbidden
    try:
        found = record.read(checkpoint)
        items = ITEMS if found.digests is None else tuple(found.digests)
        for item in items:
            if found.digests is not None or (checkpoint / item).exists():
                found.check(item, _restored(checkpoint / item))
                gc.collect()  # See `checkpoints`.
    except Exception as error:  # For damaged files, Orbax raises any of a dozen exceptions.
        return reason(error)
    return None


def has_digests(checkpoint: Path) -> bool:
    """Returns whether a checkpoint that isn't damaged has digests."""
    return record.read(checkpoint).digests is not None


def reason(error: Exception) -> str:
    """Returns in a line what is wrong with a checkpoint."""
    # TensorStore's messages begin with half a dozen paths, and end with what is wrong.
    text = sealed_json.reason(error).strip().partition("\n")[0]
    text = text.partition(". See full TensorStore details:")[0]  # Orbax adds an object as text.
    return text if len(text) <= 200 else f"{text[:40]} ... {text[-160:]}"


def remedy(damaged: Sequence[Path], good: int | None, is_checked: bool) -> str:
    """Returns what to do about damaged checkpoints, for an error's message.

    Args:
      damaged: The folders of the checkpoints, the last one at the end.
      good: The step of the last other checkpoint; None if there is none.
      is_checked: Whether `damage` was called on that one.
    """
    workdir = damaged[-1].parents[1]
    goes_on = f"python -m vgg_jax.main --workdir={shlex.quote(str(workdir))}"
    if good is None:
        return (
            "No other checkpoint there is good. Restore the folder from a copy. An imported net "
            "can be imported again, and a run that was trained there then starts from the "
            f"beginning:\n    {_remove(damaged[-1].parent, run_result.path(workdir))} && {goes_on}"
        )
    is_final = good < int(damaged[-1].name) and run_result.path(workdir).exists()
    removed = (*damaged, run_result.path(workdir)) if is_final else damaged
    folders = "the damaged folder" if len(damaged) == 1 else "the damaged folders"
    checked = "is good" if is_checked else f"may be good: {goes_on} --mode=verify says so"
    return (
        f"Step {good} {checked}. Without {folders}, commands read step {good}, and the "
        f"run goes on from step {good}:\n    {_remove(*removed)} && {goes_on}"
    )


def _remove(*paths: Path) -> str:
    command = "gcloud storage rm -r" if files.in_bucket(paths[0]) else "rm -r"
    found = (shlex.quote(str(path)) for path in paths if path.exists())
    return f"{command} {' '.join(found)}"


def _restored(item: Path) -> object:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    restore = ocp.args.StandardRestore(fallback_sharding=here)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        return checkpointer.restore(files.absolute(item), args=restore)


def _leave_out_late_answers(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Returns Python's hook for ignored exceptions without those that an error of Orbax causes.

    The first error closes an event loop, which TensorStore's threads then still answer. Python
    printed a traceback for each array.
    """

    def wanted(unraisable: Any) -> None:
        frame = unraisable.exc_traceback and unraisable.exc_traceback.tb_frame
        late = frame and frame.f_code.co_name == "call_soon_threadsafe"  # No Python code called it.
        if not late or str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    return wanted


sys.unraisablehook = _leave_out_late_answers(sys.unraisablehook)
