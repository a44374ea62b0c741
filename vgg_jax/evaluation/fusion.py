"""Fusion: the average of the posteriors of several runs (§4.4), from the files of evaluations."""

import shlex
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, results
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.runs import config_files, run_config, saved_steps
from vgg_jax.storage.files import Path


def fuse(
    runs: Mapping[Path, Sequence[int]],
    method: str,
    split: str | None,
    out: Path,
    *,
    variant: str = "",
) -> str:
    """Averages runs, each with the same weight, and writes the result's JSON file.

    Args:
      runs: By workdir the scales Q, px; empty for what the run's config says.
      method: Of `evaluation_settings.METHODS`.
      split: Of the files; None for what the first run was validated on.
      out: Folder of the result.
      variant: See `evaluation_settings.variant`.

    Returns:
      A line with the errors, or with where the CSV file is.

    Raises:
      UserError: There is no such variant; or a file is missing or of an earlier checkpoint, and
        the message has the command that makes it; or they are of different images, labels or
        classes.
    """
    unknown = set(variant.split("-")) - {"", *evaluation_settings.VARIANTS}
    if unknown:
        raise UserError(
            f"There is no variant {'-'.join(unknown)}. Join some of "
            f"{', '.join(evaluation_settings.VARIANTS)} with hyphens, in this order."
        )
    configs = {workdir: run_config.load(workdir) for workdir in runs}
    for workdir, c in configs.items():
        if c is None:
            raise UserError(f"There is no run in {workdir}.")
    split = split or data_settings.evaluated_split(next(iter(configs.values())))
    scales = {
        workdir: tuple(runs[workdir]) or evaluation_settings.test_scales(c)
        for workdir, c in configs.items()
    }
    parts, missing = {}, []
    for workdir, c in configs.items():
        part = load(workdir, method, scales[workdir], split, variant)
        if part is None:
            command = evaluation_command(workdir, c, split, method, scales[workdir], variant)
            missing.append(f"    {command}\n")
        else:
            parts[str(workdir)] = part
    if missing:
        raise UserError(
            f"Evaluations of {split!r} are missing, or of an earlier checkpoint. These commands "
            f"make them:\n{''.join(missing)}"
        )
    fused = posteriors.average(parts)
    if len({part.made_by["identity"]["images"] for part in parts.values()}) > 1:
        raise UserError(
            "The runs were evaluated on image files that differ, though they have the same names. "
            "Evaluate them on the same."
        )
    names = " + ".join(workdir.resolve().name for workdir in runs)
    of_scales = " + ".join(", ".join(map(str, of_run)) for of_run in _distinct(scales))
    return results.write(
        result_path(out, scales, split, method, variant),
        fused,
        f"{names}, {method}, Q = {of_scales}",
        {
            "runs": {str(workdir): list(of_run) for workdir, of_run in scales.items()},
            "split": split,
            "method": method,
        },
    )


def result_path(
    out: Path,
    runs: Mapping[Path, Sequence[int]],
    split: str,
    method: str,
    variant: str = "",
) -> Path:
    """Returns the JSON file of a fusion: its arguments are those of `fuse`."""
    names = "+".join(workdir.resolve().name for workdir in runs)
    scales = "+".join("_".join(map(str, of_run)) for of_run in _distinct(runs))
    return out / f"{names}-{results.stem(split, method, scales, variant)}.json"


def _distinct(runs: Mapping[Path, Sequence[int]]) -> list[tuple[int, ...]]:
    of_runs = [tuple(of_run) for of_run in runs.values()]
    return of_runs[:1] if len(set(of_runs)) == 1 else of_runs


def load(
    workdir: Path, method: str, scales: Sequence[int], split: str, variant: str = ""
) -> posteriors.Posteriors | None:
    """Reads what a run's last checkpoint makes of a split, averaged over methods and scales.

    Args:
      workdir: Of the run.
      method: Of `evaluation_settings.METHODS`.
      scales: Q, px.
      split: Of the files.
      variant: See `settings.variant`; with "best" any checkpoint counts as the one meant.

    Returns:
      None where a file is missing, or of an earlier checkpoint.

    Raises:
      UserError: A file is damaged, or they don't belong together.
    """
    if missing(workdir, method, scales, split, variant):
        return None
    return posteriors.combine(
        {
            single: {q: posteriors.load(_path(workdir, split, single, q, variant)) for q in scales}
            for single in evaluation_settings.METHODS[method]
        }
    )


def missing(
    workdir: Path, method: str, scales: Sequence[int], split: str, variant: str = ""
) -> list[str]:
    """Says which files `load` lacks, and why: its arguments. Nothing where it lacks none.

    Raises:
      UserError: A file is damaged.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for single in evaluation_settings.METHODS[method]:
        for q in scales:
            path = _path(workdir, split, single, q, variant)
            if not path.exists():
                found.setdefault((single, "not there"), []).append(str(q))
            elif "best" not in variant:
                step = posteriors.load_made_by(path)["checkpoint_step"]
                last = saved_steps.last_step(workdir)
                if step != last:
                    why = f"of step {step}, the last checkpoint of step {last}"
                    found.setdefault((single, why), []).append(str(q))
    return [f"{single} at Q = {', '.join(qs)}: {why}" for (single, why), qs in found.items()]


def _path(workdir: Path, split: str, method: str, q: int, variant: str) -> Path:
    return results.path(workdir, split, method, [q], variant=variant, suffix=".npz")


def evaluation_command(
    workdir: Path,
    c: ConfigDict,
    split: str,
    method: str,
    scales: Sequence[int],
    variant: str = "",
) -> str:
    """Returns the command that makes what `load` reads, of a run with config `c`."""
    spec, plain = config_files.of_run(c.name) or ("CONFIG", c)
    standard, overrides = run_config.flat(plain), {}
    for key, value in run_config.flat(c).items():
        if value != standard.get(key, value) and not key.startswith("eval."):
            is_tuple = isinstance(value, list)
            overrides[key] = (",".join(map(str, value)) or "()") if is_tuple else value
    if split != data_settings.evaluated_split(c):
        overrides |= {"data.val_split": split} | ({"data.held_out": 0} if c.data.held_out else {})
    overrides |= {
        evaluation_settings.VARIANTS[value]: value for value in variant.split("-") if value
    }
    overrides |= {"eval.method": method, "eval.scales": ",".join(map(str, scales))}
    command = ["python", "-m", "vgg_jax.main", "--mode=eval", f"--config={spec}"]
    flags_of = [f"--config.{key}={value}" for key, value in overrides.items()]
    return shlex.join([*command, f"--workdir={workdir}", *flags_of])
