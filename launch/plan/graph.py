"""The graph of what makes some of the paper's results: runs, evaluations, fusions, none twice.

Runs wait for the run that they start from (§3.1), evaluations for their run, fusions for their
evaluations.
"""

from collections.abc import Iterable

from launch.plan import commands, paper
from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.runs import config_files

# What the graph sets or rests upon.
OWN_KEYS = (
    *("name", "seed", "net", "train_scale", "val_scale", "init_from", "init_layers"),
    *("eval.method", "eval.scales"),
)


def tasks(sweep: Sweep, wanted: Iterable[Result]) -> list[Task]:
    """Lists what makes some results, each task behind those that it waits for.

    Args:
      sweep: How they are made.
      wanted: The results, which may recur.

    Raises:
      UserError: An override names no key, or one that is the sweep's own; or the test split is
        the one that runs are validated on.
    """
    results = list(dict.fromkeys(wanted))
    for override in sweep.overrides:
        key = override.removeprefix("--config.").partition("=")[0]
        if key in OWN_KEYS:
            raise UserError(f"{override}: {key} is the sweep's own, of each run another.")
    if sweep.test_split == data_settings.evaluated_split(commands.data_config(sweep)):
        raise UserError(f"--test_split={sweep.test_split} is what the runs are validated on.")
    runs = _with_sources(part.run for result in results for part in result.parts)
    made = []
    for seed in range(sweep.seeds):
        made += [commands.train(sweep, run, seed) for run in runs]
        made += _evaluations_and_fusions(sweep, results, seed, "")
        if sweep.test_split:
            made += _evaluations_and_fusions(sweep, _on_test(results), seed, sweep.test_split)
    return made


def _with_sources(runs: Iterable[str]) -> list[str]:
    """Lists runs and those that they start from, each once and behind its own source."""
    ordered: dict[str, None] = {}

    def add(run: str) -> None:
        source = config_files.of_run(run)[1].init_from
        if source != "none":
            add(source)
        ordered[run] = None

    for run in runs:
        add(run)
    return list(ordered)


def _on_test(results: Iterable[Result]) -> list[Result]:
    """Lists those results whose errors on a test split the paper reports."""
    reported = {row.result for row in paper.rows([6, 7])}
    return [result for result in results if result in reported]


def _evaluations_and_fusions(
    sweep: Sweep, results: Iterable[Result], seed: int, split: str
) -> list[Task]:
    """Lists what makes results of one split; "" is the split that runs are validated on."""
    evaluations = [
        commands.evaluate(sweep, run, method, sorted(scales), seed, split)
        for (run, method), scales in _evaluated_scales(sweep, results).items()
    ]
    fusions = [
        commands.fuse(sweep, result, seed, split) for result in results if len(result.parts) > 1
    ]
    return evaluations + fusions


def _evaluated_scales(sweep: Sweep, results: Iterable[Result]) -> dict[tuple[str, str], set[int]]:
    """Returns all Q, px, at which results need a run evaluated, by the run and the method."""
    scales: dict[tuple[str, str], set[int]] = {}
    for result in results:
        for part in result.parts:
            for method in methods.singles(result.method):
                scales.setdefault((part.run, method), set()).update(sweep.scales(part))
    return scales
