"""Averages the posteriors of several runs (§4.5): `python -m vgg_jax.fuse runs/A runs/B`.

    python -m vgg_jax.fuse runs/d_multiscale runs/e_multiscale --method=both --scales=256,384,512

Arithmetic on the files that evaluations left; no device is needed.
"""

import pathlib
import shlex
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict

from vgg_jax import commands, config, posteriors, summary
from vgg_jax.errors import UserError

_METHOD = flags.DEFINE_enum("method", "dense", list(config.METHODS), "Of the evaluations.")
_SCALES = flags.DEFINE_list("scales", None, "Q, px. Default: each run's own.")
_SPLIT = flags.DEFINE_string("split", None, "Default: what the first run was validated on.")
_OUT = flags.DEFINE_string("out", None, "Folder for the result. Default: fused, beside the runs.")


def main(argv: list[str]) -> None:
    """Fuses the runs whose workdirs are given."""
    workdirs = [pathlib.Path(arg).expanduser() for arg in argv[1:]]
    if len(workdirs) < 2 or len({path.resolve() for path in workdirs}) < len(workdirs):
        raise UserError("Give the workdirs of two runs or more, each once.")
    out = pathlib.Path(_OUT.value).expanduser() if _OUT.value else workdirs[0].parent / "fused"
    print(fuse(workdirs, _METHOD.value, config.parse_scales(_SCALES.value), _SPLIT.value, out))


def fuse(
    workdirs: Sequence[pathlib.Path],
    method: str,
    scales: Sequence[int],
    split: str | None,
    out: pathlib.Path,
) -> str:
    """Averages runs, each with the same weight, and writes the result's JSON file.

    Args:
      workdirs: Of the runs.
      method: Of `config.METHODS`.
      scales: Q, px; empty for each run's own.
      split: Of the files; None for what the first run was validated on.
      out: Folder of the result.

    Returns:
      A line with the errors, or with where the CSV file is.

    Raises:
      UserError: A file is missing, and the message has the command that makes it; or the files are
        of different images, labels or classes.
    """
    runs = {str(workdir): config.load_complete(workdir) for workdir in workdirs}
    for workdir, c in runs.items():
        if c is None:
            raise UserError(f"There is no run in {workdir}.")
    split = split or config.split(next(iter(runs.values())))
    parts, missing = {}, []
    for workdir, c in runs.items():
        files = {
            single: {
                q: summary.path(pathlib.Path(workdir), split, single, [q], ".npz")
                for q in scales or config.test_scales(c)
            }
            for single in config.METHODS[method]
        }
        absent = [path for of_single in files.values() for path in of_single.values()]
        absent = [path for path in absent if not path.exists()]
        if absent:
            missing.append(_command(workdir, c, split, method, scales or config.test_scales(c)))
            continue
        parts[workdir] = posteriors.combine(
            {
                single: {q: posteriors.load(path) for q, path in of_single.items()}
                for single, of_single in files.items()
            }
        )
    if missing:
        raise UserError(
            f"Evaluations of {split!r} are missing. With each run's own config and overrides:\n"
            + "".join(f"    {command}\n" for command in missing)
        )
    names = [pathlib.Path(workdir).resolve().name for workdir in runs]
    of_scales = list(scales) or sorted({q for c in runs.values() for q in config.test_scales(c)})
    return summary.write(
        out / f"{'+'.join(names)}-{summary.stem(split, method, of_scales)}.json",
        posteriors.average(parts),
        f"{' + '.join(names)}, {method}, Q = {', '.join(map(str, of_scales))}",
        {"runs": list(runs), "split": split, "method": method, "scales": of_scales},
    )


def _command(workdir: str, c: ConfigDict, split: str, method: str, scales: Sequence[int]) -> str:
    overrides = [f"eval.method={method}", f"eval.scales={','.join(map(str, scales))}"]
    if split != config.split(c):
        overrides += [f"data.val_split={split}", *(["data.held_out=0"] if c.data.held_out else [])]
    command = ["python", "-m", "vgg_jax.main", "--mode=eval", f"--workdir={workdir}"]
    return shlex.join([*command, "--config=CONFIG", *(f"--config.{o}" for o in overrides)])


if __name__ == "__main__":
    commands.run(main)
