"""Averages the posteriors of several runs (§4.5): `python -m vgg_jax.fuse runs/A runs/B`.

    python -m vgg_jax.fuse runs/d_multiscale runs/e_multiscale --method=both --scales=256,384,512
    python -m vgg_jax.fuse runs/d_256:224,256,288 runs/d_384:352,384,416  # each at its own Q

Arithmetic on the files that evaluations left; no device is needed.
"""

import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

from absl import flags
from ml_collections import ConfigDict

from vgg_jax import chain, commands, config, posteriors, summary
from vgg_jax.errors import UserError

_METHOD = flags.DEFINE_enum("method", "dense", list(config.METHODS), "Of the evaluations.")
_SCALES = flags.DEFINE_list("scales", None, "Q, px. Default: what each run's config says.")
_SPLIT = flags.DEFINE_string("split", None, "Default: what the first run was validated on.")
_VARIANT = flags.DEFINE_string("variant", "", "What stands behind Q in the files' names.")
_OUT = flags.DEFINE_string("out", None, "Folder for the result. Default: fused, beside the runs.")


def main(argv: list[str]) -> None:
    """Fuses the runs that are given as WORKDIR or WORKDIR:Q,Q,..."""
    scales, runs = config.parse_scales(_SCALES.value), {}
    for argument in argv[1:]:
        workdir, own = re.fullmatch(r"(.+?)(?::([\d,]+))?", argument).groups()
        of_run = config.parse_scales(own.split(",")) if own else scales
        runs[pathlib.Path(workdir).expanduser()] = of_run
    if len(runs) < 2 or len({path.resolve() for path in runs}) < len(argv) - 1:
        raise UserError("Give the workdirs of two runs or more, each once.")
    out = pathlib.Path(_OUT.value).expanduser() if _OUT.value else next(iter(runs)).parent / "fused"
    print(fuse(runs, _METHOD.value, _SPLIT.value, out, variant=_VARIANT.value))


def fuse(
    runs: Mapping[pathlib.Path, Sequence[int]],
    method: str,
    split: str | None,
    out: pathlib.Path,
    *,
    variant: str = "",
) -> str:
    """Averages runs, each with the same weight, and writes the result's JSON file.

    Args:
      runs: By workdir the scales Q, px; empty for what the run's config says.
      method: Of `config.METHODS`.
      split: Of the files; None for what the first run was validated on.
      out: Folder of the result.
      variant: See `config.variant`.

    Returns:
      A line with the errors, or with where the CSV file is.

    Raises:
      UserError: There is no such variant; or a file is missing or of an earlier checkpoint, and
        the message has the command that makes it; or they are of different images, labels or
        classes.
    """
    unknown = set(variant.split("-")) - {"", *config.VARIANTS}
    if unknown:
        raise UserError(
            f"There is no variant {'-'.join(unknown)}. Join some of {', '.join(config.VARIANTS)} "
            "with hyphens, in this order."
        )
    configs = {workdir: config.load_complete(workdir) for workdir in runs}
    for workdir, c in configs.items():
        if c is None:
            raise UserError(f"There is no run in {workdir}.")
    split = split or config.split(next(iter(configs.values())))
    scales = {
        workdir: tuple(runs[workdir]) or config.test_scales(c) for workdir, c in configs.items()
    }
    parts, missing = {}, []
    for workdir, c in configs.items():
        part = _load(workdir, method, scales[workdir], split, variant)
        if part is None:
            command = _command(workdir, c, split, method, scales[workdir], variant)
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
    of_runs = list(scales.values())
    if len(set(of_runs)) == 1:
        of_runs = of_runs[:1]
    of_scales = " + ".join(", ".join(map(str, of_run)) for of_run in of_runs)
    in_name = "+".join("_".join(map(str, of_run)) for of_run in of_runs)
    return summary.write(
        out / f"{names.replace(' ', '')}-{summary.stem(split, method, in_name, variant)}.json",
        fused,
        f"{names}, {method}, Q = {of_scales}",
        {
            "runs": {str(workdir): list(of_run) for workdir, of_run in scales.items()},
            "split": split,
            "method": method,
        },
    )


def _load(
    workdir: pathlib.Path, method: str, scales: Sequence[int], split: str, variant: str
) -> posteriors.Posteriors | None:
    loaded = {}
    for single in config.METHODS[method]:
        for q in scales:
            path = summary.path(workdir, split, single, [q], variant=variant, suffix=".npz")
            if not path.exists():
                return None
            part = posteriors.load(path)
            is_of_last = part.made_by["checkpoint_step"] == chain.last_step(workdir)
            if "best" not in variant and not is_of_last:
                return None
            loaded.setdefault(single, {})[q] = part
    return posteriors.combine(loaded)


def _command(
    workdir: pathlib.Path,
    c: ConfigDict,
    split: str,
    method: str,
    scales: Sequence[int],
    variant: str,
) -> str:
    spec, plain = chain.load_config(c.name) or ("CONFIG", c)
    standard, overrides = config.flat(plain), {}
    for key, value in config.flat(c).items():
        if value != standard.get(key, value) and not key.startswith("eval."):
            is_tuple = isinstance(value, list)
            overrides[key] = (",".join(map(str, value)) or "()") if is_tuple else value
    if split != config.split(c):
        overrides |= {"data.val_split": split} | ({"data.held_out": 0} if c.data.held_out else {})
    overrides |= {config.VARIANTS[value]: value for value in variant.split("-") if value}
    overrides |= {"eval.method": method, "eval.scales": ",".join(map(str, scales))}
    command = ["python", "-m", "vgg_jax.main", "--mode=eval", f"--config={spec}"]
    flags_of = [f"--config.{key}={value}" for key, value in overrides.items()]
    return shlex.join([*command, f"--workdir={workdir}", *flags_of])


if __name__ == "__main__":
    commands.run(main)
