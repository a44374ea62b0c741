"""Keeps what notebooks read of runs that take long: the README of this folder has the commands."""

import json
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, os.getcwd())  # launch isn't installed.

from launch.plan.sweep_spec import Sweep
from vgg_jax.evaluation import posteriors
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.nets.label_rank import label_rank
from vgg_jax.runs import config_files, run_config, run_result, saved_steps
from vgg_jax.storage import sealed_npz

FOLDER = pathlib.Path(__file__).parent


def sweep(root: str) -> None:
    """Keeps the files of a sweep that `launch.tables` reads, in data/sweep."""
    made = Sweep.load(pathlib.Path(root))
    kept = Sweep(FOLDER / "sweep", made.mini, "", made.seeds, made.overrides)
    kept.save()
    for seed in range(made.seeds):
        for run in config_files.names():
            workdir, to = made.workdir(run, seed), kept.workdir(run, seed)
            if (workdir / "result.json").exists():
                _keep_run(workdir, to)
                print(to)


def _keep_run(workdir: pathlib.Path, to: pathlib.Path) -> None:
    c = run_config.load(workdir)
    c.data.dir = c.data.cache_dir = ""  # Paths on the machine that trained the run.
    (to / "checkpoints").mkdir(parents=True, exist_ok=True)
    run_config.save(c, to)
    run_result.write(to, run_result.read(workdir))
    # Only the number of the last checkpoint is read.
    (to / "checkpoints" / str(saved_steps.last_step(workdir))).touch()
    for path in workdir.glob("eval/*.npz"):
        (to / "eval").mkdir(exist_ok=True)
        _keep_posteriors(posteriors.read(path), to / "eval" / path.name)


def _keep_posteriors(found: Posteriors, path: pathlib.Path) -> None:
    values = found.values.astype(np.float16)
    if (label_rank(values, found.labels) != label_rank(found.values, found.labels)).any():
        values = found.values  # Rounded to 16 bits, two classes would share a probability.
    arrays = {
        "names": np.array(found.names),
        "labels": found.labels,
        "class_names": np.array(found.class_names),
        "values": values,
        "made_by": np.array(json.dumps(found.made_by)),
    }
    np.savez_compressed(path, **sealed_npz.seal(arrays))


def scales(*workdirs: str) -> None:
    """Keeps the ranks of the images' labels, by S and Q, of runs that differ in S, in scales.npz.

    The keys are LOW-HIGH/Q, and LOW-HIGH/Q+Q+Q for the average over the three Q of Table 4.
    """
    kept: dict[str, np.ndarray] = {}
    for workdir in map(pathlib.Path, workdirs):
        low, high = run_config.load(workdir).train_scale
        by_scale = {
            int(path.stem.rpartition("-")[2]): posteriors.read(path)
            for path in workdir.glob("eval/*-dense-*.npz")
        }
        # §4.2's S - 32, S and S + 32, where a crop has 224 px and not 64.
        around = (low - 9, low, low + 9)
        averaged = around if low == high else (low, round((low + high) / 2), high)
        means = {q: found.values for q, found in sorted(by_scale.items())}
        means["+".join(map(str, averaged))] = posteriors.average(
            {f"Q = {q}": by_scale[q] for q in averaged}
        ).values
        first = next(iter(by_scale.values()))
        for q, values in means.items():
            kept[f"{low}-{high}/{q}"] = label_rank(values, first.labels).astype(np.uint8)
    np.savez_compressed(
        FOLDER / "scales.npz", names=np.array(first.names), labels=first.labels, **kept
    )


if __name__ == "__main__":
    {"sweep": sweep, "scales": scales}[sys.argv[1]](*sys.argv[2:])
