"""Writes the workdir of a net that wasn't trained here."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from vgg_jax.errors import UserError
from vgg_jax.runs import record, run_config, run_result, saved_steps
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.record import SavedRun
from vgg_jax.storage import files, writer
from vgg_jax.storage.files import Path


def refuse_used(workdir: Path) -> None:
    """Checks that a workdir is absent or empty, and on a disk.

    Raises:
      UserError: The workdir is in a bucket, can't be written to, or isn't empty.
    """
    if files.in_bucket(workdir):
        raise UserError(
            f"Import into a folder on a disk, and copy it to {workdir} afterwards: "
            "gcloud storage cp -r."
        )
    files.refuse_unwritable(workdir)
    if workdir.exists() and not (workdir.is_dir() and not any(workdir.iterdir())):
        raise UserError(f"{workdir} isn't empty. Choose another workdir, or remove it.")


def holds(c: ConfigDict, workdir: Path, facts: RunFacts, origin: Mapping[str, Any]) -> bool:
    """Returns whether a workdir holds what `write` would write, except for the code's commits."""
    checkpoint = saved_steps.last_checkpoint(workdir)
    if checkpoint is None or not run_result.is_of_import(workdir):
        return False
    if run_result.read(workdir)["imported"] != dict(origin) or run_config.differences(c, workdir):
        return False
    theirs = record.read(checkpoint).run.facts
    return dataclasses.replace(theirs, commits=facts.commits) == facts


def write(
    c: ConfigDict,
    workdir: Path,
    params: dict[str, dict[str, np.ndarray]],
    facts: RunFacts,
    origin: Mapping[str, Any],
) -> None:
    """Writes a finished run of one checkpoint, step 0, without an optimiser's state.

    The workdir appears at once with all its contents, or not at all.

    Args:
      c: The run's config, which describes the net.
      workdir: A folder that `refuse_used` has passed.
      params: The parameters. The dict is emptied, to hold no more than two copies of them.
      facts: The classes and the mean of the net; there are no fingerprints of images.
      origin: Plain values that say where the net comes from: "imported" in result.json. They
        include "fc_layers", whether the net has FC layers.
    """
    aside = workdir.with_name(f".{workdir.name}.partial")
    given = (f"{workdir.name}-import", f"importing {workdir.name}", "choose another --workdir")
    with writer.one_writer(workdir.parent, *given):
        files.remove_tree(aside)  # A killed import has left it.
        try:
            saved = SavedRun(facts, {"config": run_config.fixed(c)})
            _save_checkpoint(saved_steps.path(aside, 0), params, saved)
            run_config.save(c, aside)
            result = {"imported": dict(origin), "commits": list(facts.commits)}
            run_result.write(aside, result)
            refuse_used(workdir)  # Another process may have begun a run there meanwhile.
            with contextlib.suppress(FileNotFoundError):
                workdir.rmdir()
            aside.rename(workdir)
        finally:
            files.remove_tree(aside)


def _save_checkpoint(
    folder: Path, params: dict[str, dict[str, np.ndarray]], saved: SavedRun
) -> None:
    # Without compression, which saves a tenth and takes as much memory as the arrays once more.
    handler = ocp.CompositeCheckpointHandler(
        params=ocp.PyTreeCheckpointHandler(use_compression=False),
        run=ocp.JsonCheckpointHandler(),
    )
    values = record.to_json(saved, int(folder.name), None, {"params": params})
    with ocp.AsyncCheckpointer(handler) as checkpointer:
        checkpointer.save(
            files.absolute(folder),
            args=ocp.args.Composite(
                params=ocp.args.PyTreeSave(params), run=ocp.args.JsonSave(values)
            ),
        )
        params.clear()  # Orbax has copied the arrays, and now writes the copies.
        checkpointer.wait_until_finished()
