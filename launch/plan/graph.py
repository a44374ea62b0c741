"""The graph of tasks behind some of the paper's results: each run, evaluation and fusion once.

A run waits for the run that it starts from (§3.1), an evaluation for its run, a fusion for its
evaluations.
"""

import dataclasses
from collections.abc import Iterable

from launch.plan import commands, paper
from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.runs import config_files, run_result

# The keys of a config that the graph sets or depends on.
OWN_KEYS = (
    *("name", "seed", "net", "train_scale", "val_scale", "init_from", "init_layers"),
    *("eval.method", "eval.scales"),
)
# The keys that change what an error is. The tables have the paper's: all classes, one label each.
_ERROR_KEYS = ("eval.classes", "eval.labels")


def tasks(sweep: Sweep, wanted: Iterable[Result]) -> list[Task]:
    """Returns the tasks that make some results, each after those that it waits for.

    Args:
      sweep: The settings of the sweep.
      wanted: The results. The same one may occur several times.

    Raises:
      UserError: An override sets a key that the config lacks or that the sweep sets itself, or the
        test split is the one that runs are validated on.
    """
    results = list(dict.fromkeys(wanted))
    for override in sweep.overrides:
        key = override.removeprefix("--config.").partition("=")[0]
        if key in OWN_KEYS:
            raise UserError(f"{override}: the sweep sets {key} itself, for each run. Leave it out.")
        if key in _ERROR_KEYS:
            raise UserError(
                f"{override}: the tables have the paper's errors, over all classes and with one "
                "label per image. Leave it out."
            )
    if sweep.test_split == data_settings.evaluated_split(commands.data_config(sweep)):
        raise UserError(
            f"--test_split={sweep.test_split} is the split that the runs are validated on. "
            "Give another, or leave it out."
        )
    made = []
    for seed in range(sweep.seeds):
        made += _training_runs(sweep, results, seed)
        made += _evaluations_and_fusions(sweep, results, seed, "")
        if sweep.test_split:
            made += _evaluations_and_fusions(sweep, _on_test(results), seed, sweep.test_split)
    return made


def _training_runs(sweep: Sweep, results: Iterable[Result], seed: int) -> list[Task]:
    """Returns the tasks of the runs and of those that they start from, each after its own source.

    A source that doesn't exist is left out if only finished runs would start from it: they may have
    been imported.
    """
    ordered: dict[str, Task] = {}

    def is_finished(run: str) -> bool:
        # The plan of a sweep in a bucket is made without asking the bucket.
        return not sweep.is_in_bucket and run_result.path(sweep.workdir(run, seed)).exists()

    def add(run: str) -> None:
        source = config_files.of_run(run)[1].init_from
        task = commands.train(sweep, run, seed)
        if source != "none" and is_finished(run) and not is_finished(source):
            task = dataclasses.replace(task, waits_for=())
        elif source != "none":
            add(source)
        ordered[run] = task

    for result in results:
        for part in result.parts:
            add(part.run)
    return list(ordered.values())


def _on_test(results: Iterable[Result]) -> list[Result]:
    """Returns the results that Tables 6 and 7 report, which have a column for the test split."""
    reported = {row.result for row in paper.rows([6, 7])}
    return [result for result in results if result in reported]


def _evaluations_and_fusions(
    sweep: Sweep, results: Iterable[Result], seed: int, split: str
) -> list[Task]:
    """Returns the tasks that make results on a split; "" is the one that runs are validated on."""
    evaluations = [
        commands.evaluate(sweep, run, method, sorted(scales), seed, split)
        for (run, method), scales in _evaluated_scales(sweep, results).items()
    ]
    fusions = [
        commands.fuse(sweep, result, seed, split) for result in results if len(result.parts) > 1
    ]
    return evaluations + fusions


def _evaluated_scales(sweep: Sweep, results: Iterable[Result]) -> dict[tuple[str, str], set[int]]:
    """Returns all scales Q, in px, that the results need of each run and method."""
    scales: dict[tuple[str, str], set[int]] = {}
    for result in results:
        for part in result.parts:
            for method in methods.singles(result.method):
                scales.setdefault((part.run, method), set()).update(sweep.scales(part))
    return scales
