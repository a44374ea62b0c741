"""Makes up sweeps, with runs and posteriors that a report can read."""

import numpy as np

from launch.plan import commands, paper
from launch.plan.sweep_spec import Sweep
from launch.report import publish
from vgg_jax.data import settings as data_settings
from vgg_jax.evaluation import methods
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey
from vgg_jax.runs import run_config, run_result, saved_steps

N, C = 60, 8
NAMES = tuple(f"{i % 3}/ünï_{i}.jpg" for i in range(N))
CLASSES = tuple("abcdefgh")
LABELS = np.random.default_rng(0).integers(0, C, N).astype(np.int32)
EVALUATED = dict.fromkeys(
    (part.run, method, q)
    for row in paper.ROWS
    if row.result
    for part in row.result.parts
    for method in methods.singles(row.result.method)
    for q in part.scales
)


def values_of(run, method, q, seed, split="validation"):
    rng = np.random.default_rng([*run.encode(), len(method), q, seed, len(split)])
    scores = np.exp(rng.normal(size=(N, C)) + 1.5 * (np.arange(C) == LABELS[:, None]))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def evaluate(sweep, run, method, q, seed, *, split="validation", **changed):
    workdir = sweep.workdir(run, seed)
    images = changed.pop("images", "f")
    identity = {"images": images, "parameters": f"{run}{seed}", "method": method, "scale": q}
    made_by = {"identity": identity, "checkpoint_step": saved_steps.last_step(workdir)}
    made_by |= {"commit": "abc1234", "devices": "8 x TPU v5e", "jax": "0.11.2"}
    known = {"names": NAMES, "labels": LABELS, "class_names": CLASSES} | changed
    values = known.pop("values", values_of(run, method, q, seed, split))
    values = values[:, : len(known["class_names"])]
    values /= values.sum(axis=1, keepdims=True)
    posteriors = Posteriors(**known, values=values, made_by=made_by)
    posteriors.save(ResultKey(split, method, (q,)).posteriors_path(workdir))


def train(sweep, run, seed, **result):
    workdir = sweep.workdir(run, seed)
    run_config.save(commands.train_config(sweep, run, seed), workdir)
    (workdir / "checkpoints" / "7").mkdir(parents=True, exist_ok=True)
    last = {"step": 7, "epoch": 74, "num_images": 8, "top1_error": 31.25, "top5_error": 11.5}
    run_result.write(workdir, {"last": last, "best": last} | result)


def sweep_of(root, *, runs=None, **options):
    """Makes all that Tables 3 to 7 need on the validation split, or the part of some runs."""
    sweep = Sweep(root, **options)
    sweep.save()
    for seed in range(sweep.seeds):
        for run in dict.fromkeys(run for run, _, _ in EVALUATED if runs is None or run in runs):
            train(sweep, run, seed, commits=["abc1234"])
        for run, method, q in EVALUATED:
            if runs is None or run in runs:
                scaled = sweep.scales(paper.Part(run, (q,)))[0]
                split = data_settings.evaluated_split(commands.data_config(sweep))
                evaluate(sweep, run, method, scaled, seed, split=split)
    return sweep


def wrong(result, k, seed):
    """Returns whether each image is wrong at top k, by sorting the averaged posteriors."""
    means = [
        np.mean(
            [
                np.mean([values_of(part.run, method, q, seed) for q in part.scales], axis=0)
                for method in methods.singles(result.method)
            ],
            axis=0,
        )
        for part in result.parts
    ]
    ranked = np.argsort(-np.mean(means, axis=0), axis=1)
    return (ranked[:, :k] != LABELS[:, None]).all(axis=1)


def cells_of(text):
    """Returns {first cell of a row: {header: cell}} of all tables of a Markdown text.

    A header such as "top-1: paper" also applies to those after it: "ours" becomes "top-1: ours".
    """
    rows, lines = {}, [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in lines]
    for number, cells in enumerate(split):
        is_header = number + 1 < len(split) and set(split[number + 1][0]) == {"-"}
        if is_header:
            names, error = [], ""
            for name in cells[1:]:
                error = name.partition(": ")[0] if ": " in name else error
                names.append(name if ": " in name or not error else f"{error}: {name}")
        elif set(cells[0]) != {"-"}:
            rows.setdefault(cells[0], dict(zip(names, cells[1:], strict=True)))
    return rows


def written(root):
    return [path.read_text(encoding="utf-8") for path in publish.write(Sweep.load(root))]


def two_nets(root, labels, seeds=1):
    sweep = sweep_of(root, runs=("d_multiscale", "e_multiscale"), test_split="test", seeds=seeds)
    for seed in range(seeds):
        for run in ("d_multiscale", "e_multiscale"):
            for method in ("dense", "multicrop"):
                for q in (256, 384, 512):
                    evaluate(sweep, run, method, q, seed, split="test", labels=labels)
    return sweep
