"""Fusion: the average of the posteriors of several runs (§4.4), from the files of evaluations."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.data.specs import IMAGENET
from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, results
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.restriction import Restriction
from vgg_jax.evaluation.result_key import FOLDER, ResultKey, Variant
from vgg_jax.runs import params_digest, run_config, run_result, saved_steps
from vgg_jax.storage.files import Path


def keys_of(
    runs: Mapping[Path, Sequence[int]],
    method: str,
    split: str | None,
    variant: Variant,
    restriction: Restriction = Restriction(),
) -> dict[Path, ResultKey]:
    """Returns the keys of the results that `fuse` averages, by workdir.

    Args:
      runs: The test scales Q in px, by workdir; empty for those of the run's config.
      method: See `methods.check`.
      split: The split of the images; None for the split that the first run was validated on. A
        run whose validation split is called val takes validation for it, and the other way round.
      variant: The settings of the evaluations.
      restriction: The classes and labels that count for the result.

    Raises:
      UserError: There is no run in a workdir.
    """
    configs = {workdir: run_config.existing(workdir) for workdir in runs}
    configured = {workdir: ResultKey.from_config(c) for workdir, c in configs.items()}
    split = split or next(iter(configured.values())).split
    return {
        workdir: ResultKey(
            _split_of(configs[workdir], split),
            method,
            tuple(scales) or configured[workdir].scales,
            variant,
            restriction,
        )
        for workdir, scales in runs.items()
    }


def _split_of(c: ConfigDict, split: str) -> str:
    """Returns the name that a run's files have for a split, given the run's config."""
    c = c.copy_and_resolve_references()
    c.data.held_out = 0
    own = data_settings.evaluated_split(c)
    if {own, split} == {"val", "validation"}:
        return own
    c.data.val_split = split
    return data_settings.evaluated_split(c)


def fuse(keys: Mapping[Path, ResultKey], out: Path) -> str:
    """Averages runs, each with the same weight, and writes the result's JSON file.

    Args:
      keys: The key of each run's result, by workdir. The keys differ only in their scales
        and in the name of the split.
      out: The folder of the result.

    Returns:
      A line with the errors of each run, then one with those of the average; or one line with the
      path of the CSV file for unlabelled images.

    Raises:
      UserError: A file is missing or of an earlier checkpoint, and the message has the command
        that makes it; the files are of different images, labels or classes; or see
        `Restriction.check`.
    """
    parts = _parts(keys)
    first = next(iter(keys.values()))
    fused = posteriors.average(parts)
    fused, restricted, facts = first.restriction.applied(fused)
    of_runs = ""
    if fused.is_labelled:
        for workdir, part in parts.items():
            of_run, _, _ = first.restriction.applied(part)
            of_runs += f"{workdir}: {results.errors_as_text(of_run)}\n"
    names = " + ".join(workdir.resolve().name for workdir in keys)
    scales = " + ".join(", ".join(map(str, of_run)) for of_run in _distinct_scales(keys))
    return of_runs + results.write_result(
        result_path(keys, out),
        fused,
        f"{names}, {first.method}, Q = {scales}{restricted}",
        {
            "runs": {str(workdir): list(key.scales) for workdir, key in keys.items()},
            "split": first.split,
            "method": first.method,
            **facts,
        },
    )


def _parts(keys: Mapping[Path, ResultKey]) -> dict[str, Posteriors]:
    """Reads the posteriors of each run, or refuses with the commands that make what is missing."""
    parts, commands = {}, []
    for workdir, key in keys.items():
        if run_result.lacks_fc_layers(workdir):
            raise UserError(
                f"The net in {workdir} was imported without FC layers, so it has no class scores "
                "to fuse. Leave it out, or train it with new FC layers in another workdir: "
                f"--config.init_from={workdir} --config.init_layers=all_but_fc8."
            )
        part = read_run(workdir, key)
        if part is None:
            commands.append(f"    {evaluation_command(workdir, key, [*keys])}\n")
        else:
            parts[str(workdir)] = part
    if commands:
        first, folders = next(iter(keys.values())), ""
        if _other_set(first.split, [*keys]) is None:
            _refuse_other_images([*keys], first.split)
            folders = _other_folders([*keys])
        raise UserError(
            f"Evaluations of {first.split!r} are missing, or of an earlier checkpoint. These "
            f"commands make them:\n{''.join(commands)}{folders}"
        )
    return parts


def _refuse_other_images(workdirs: Sequence[Path], split: str) -> None:
    """Checks that runs that lack evaluations of a split have the same images by their configs.

    Raises:
      UserError: They have other images; the message names the keys that say so.
    """
    configs = [run_config.flat(run_config.existing(workdir)) for workdir in workdirs]
    keys = ("data.name",)
    if split == data_settings.HELD_OUT:  # Any other split is a name, which the commands give.
        keys += ("data.train_split", "data.held_out")
    for workdir, c in zip(workdirs, configs, strict=True):
        differing = [
            f"{key} is {configs[0][key]!r} and {c[key]!r}"
            for key in keys
            if c[key] != configs[0][key]
        ]
        if differing:
            raise UserError(
                f"{workdirs[0]} and {workdir} have different images: {', '.join(differing)}. Only "
                "nets with the same classes, evaluated on the same images, can be fused. If "
                "theirs are the same, evaluate both on one data set first: python -m vgg_jax.main "
                "--mode=eval --workdir=RUN --config.data.name=NAME --config.data.dir=DIR."
            )


def _other_folders(workdirs: Sequence[Path]) -> str:
    """Returns what to say if runs have images in several folders, which may hold the same ones."""
    configs = [run_config.existing(workdir) for workdir in workdirs]
    folders = dict.fromkeys(c.data.dir for c in configs)
    if len(folders) == 1 or all(c.data.name == IMAGENET for c in configs):
        return ""
    return (
        f"The runs' images lie in {' and '.join(folders)}. Only evaluations of the same images can "
        "be fused: if these differ, add the same --config.data.dir to each command."
    )


def result_path(keys: Mapping[Path, ResultKey], out: Path) -> Path:
    """Returns the path of the JSON file that `fuse` writes for the same arguments."""
    names = "+".join(workdir.resolve().name for workdir in keys)
    scales = "+".join("_".join(map(str, of_run)) for of_run in _distinct_scales(keys))
    return out / f"{names}-{next(iter(keys.values())).result_name(scales)}.json"


def _distinct_scales(keys: Mapping[Path, ResultKey]) -> list[tuple[int, ...]]:
    of_runs = [key.scales for key in keys.values()]
    return of_runs[:1] if len(set(of_runs)) == 1 else of_runs


def read_run(workdir: Path, key: ResultKey) -> Posteriors | None:
    """Reads a run's posteriors of a split, averaged over methods and scales.

    Args:
      workdir: The run's folder.
      key: The result to read.

    Returns:
      The average; None if a file is missing, or of another checkpoint than the last or the best.

    Raises:
      UserError: A file is damaged, or the files are of different checkpoints, settings or images.
    """
    if missing(workdir, key):
        return None
    return posteriors.combine(
        {
            method: {
                scale: posteriors.read(of_scale.posteriors_path(workdir))
                for scale, of_scale in of_method.by_scale().items()
            }
            for method, of_method in key.by_method().items()
        }
    )


def missing(workdir: Path, key: ResultKey) -> list[str]:
    """Lists the files that `read_run` lacks, with the reasons; empty if it lacks none.

    Raises:
      UserError: A file is damaged.
    """
    lacking = []
    for method, of_method in key.by_method().items():
        scales_by_reason: dict[str, list[str]] = {}
        for scale, of_scale in of_method.by_scale().items():
            why = _why_missing(workdir, of_scale)
            if why:
                scales_by_reason.setdefault(why, []).append(str(scale))
        for why, scales in scales_by_reason.items():
            lacking.append(f"{method} at Q = {', '.join(scales)}: {why}")
    return lacking


def _why_missing(workdir: Path, key: ResultKey) -> str:
    path = key.posteriors_path(workdir)
    if not path.exists():
        others = sorted(file.stem for file in path.parent.glob(f"{path.stem}-*.npz"))
        variants = ", ".join(f"--variant={other.removeprefix(f'{path.stem}-')}" for other in others)
        return f"not there, but {variants} is" if variants else "not there"
    made_by = posteriors.read_made_by(path)
    _refuse_renamed(path, key, made_by["identity"])
    which = key.variant.checkpoint
    step, wanted = made_by.get("checkpoint_step"), saved_steps.step_of(workdir, which)
    if step != wanted:
        return f"of step {step}, but the {which} checkpoint is of step {wanted}"
    theirs = made_by.get("params_digest")  # Files of earlier versions have none.
    ours = params_digest.of_checkpoint(workdir / saved_steps.FOLDER / str(wanted))
    if theirs and ours and theirs != ours:
        return "of another run's checkpoint"
    return ""


def _refuse_renamed(path: Path, key: ResultKey, identity: Mapping[str, Any]) -> None:
    (scale,) = key.scales
    settings = {"pooling": key.variant.pooling, "dtype": key.variant.dtype}
    theirs = {name: identity.get(name, value) for name, value in settings.items()}
    if (identity.get("method"), identity.get("scale"), theirs) != (key.method, scale, settings):
        raise UserError(
            f"{path} holds the posteriors of {identity.get('method')} at "
            f"Q = {identity.get('scale')}, with pooling={theirs['pooling']} and "
            f"dtype={theirs['dtype']}. Give the file its own name again, or remove it."
        )


def _other_set(split: str, workdirs: Sequence[Path]) -> dict[str, Any] | None:
    """Returns the keys of data with which a run was evaluated on a set that isn't its own, if any.

    Args:
      split: The set's name in the files of evaluations.
      workdirs: The runs.
    """
    for workdir in workdirs:
        own = data_settings.evaluated_data(run_config.existing(workdir))
        for path in sorted((workdir / FOLDER).glob("*.npz")):
            data = posteriors.read_made_by(path).get("data", own)
            is_own = (data["name"], data["dir"]) == (own["name"], own["dir"])
            if not is_own and data["split"] == split:
                return {key: data[key] for key in own}
    return None


def evaluation_command(workdir: Path, key: ResultKey, beside: Sequence[Path]) -> str:
    """Returns the command that makes the files that `read_run` reads.

    Args:
      workdir: The run's folder.
      key: The result.
      beside: Runs that may have been evaluated on the same images. They say where these lie if
        they are no split of this run.

    Raises:
      UserError: There is no run in a workdir, or a file of posteriors is damaged.
    """
    c, wanted = run_config.existing(workdir), run_config.existing(workdir)
    configured = ResultKey.from_config(c)
    if key.split != configured.split:
        data = _other_set(key.split, beside) or {"val_split": key.split, "held_out": 0}
        wanted.data.update(data)
    wanted.eval.update(dataclasses.asdict(key.variant), method=key.method)
    if key.scales != configured.scales:
        wanted.eval.scales = key.scales
    changed = [f"data.{name}" for name in ("name", "dir", "train_split", "val_split", "held_out")]
    changed += [f"eval.{name}" for name in ("checkpoint", "pooling", "dtype", "method", "scales")]
    overrides = run_config.overrides(wanted, c, changed)
    command = ["python", "-m", "vgg_jax.main", "--mode=eval", f"--workdir={workdir}"]
    return shlex.join([*command, *overrides])
