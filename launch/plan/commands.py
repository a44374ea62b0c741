"""Makes the tasks of a sweep: the commands of training runs, evaluations and fusions."""

from collections.abc import Iterable, Sequence

from ml_collections import ConfigDict

from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task, config_of
from vgg_jax.data import settings as data_settings
from vgg_jax.evaluation import fusion, methods
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.runs import config_files, run_result
from vgg_jax.storage.files import Path


def train(sweep: Sweep, run: str, seed: int) -> Task:
    """Returns the task that trains a run of the paper."""
    name, workdir = _name(seed, run), sweep.workdir(run, seed)
    source = config_files.of_run(run)[1].init_from
    return Task(
        name=name,
        kind="train",
        # Evaluations are separate tasks.
        arguments=_main(sweep, run, seed, "--config.eval.method=none"),
        waits_for=() if source == "none" else (_name(seed, source),),
        result=run_result.path(workdir),
        log=sweep.log(name),
        workdir=workdir,
    )


def evaluate(
    sweep: Sweep, run: str, method: str, scales: Sequence[int], seed: int, split: str
) -> Task:
    """Returns the task that evaluates a run.

    Args:
      sweep: The settings of the sweep.
      run: The name of a file in configs/.
      method: A single method, "dense" or "multicrop", not an average of methods.
      scales: The test scales Q, in px.
      seed: The number of the run's seed, from 0.
      split: The split to evaluate; "" for the split that the run is validated on.
    """
    name, workdir = _name(seed, run, method, split), sweep.workdir(run, seed)
    flags = [f"--config.eval.method={method}", f"--config.eval.scales={_joined(scales)}"]
    if split:
        flags += [f"--config.data.val_split={split}", "--config.data.held_out=0"]
    arguments = _main(sweep, run, seed, "--mode=eval", *flags)
    return Task(
        name=name,
        kind="evaluate",
        arguments=arguments,
        waits_for=(_name(seed, run),),
        result=ResultKey.from_config(config_of(arguments)).result_path(workdir),
        log=sweep.log(name),
        workdir=workdir,
    )


def fuse(sweep: Sweep, result: Result, seed: int, split: str) -> Task:
    """Returns the task that averages the evaluations of several runs.

    Args:
      sweep: The settings of the sweep.
      result: The runs, scales and method to average.
      seed: The number of the runs' seed, from 0.
      split: The split whose posteriors are averaged; "" for the split that the runs are validated
        on.
    """
    runs = [part.run for part in result.parts]
    name = _name(seed, "+".join(runs), result.method, split)
    out = sweep.fused(seed)
    c = train_config(sweep, runs[0], seed)
    variant = Variant.from_config(c)
    keys = result_keys(sweep, result, seed, split or data_settings.evaluated_split(c), variant)
    flags = [f"--method={result.method}", f"--out={out}"]
    flags += [f"--split={split}"] if split else []
    flags += [f"--variant={variant.name}"] if variant.name else []
    parts = [f"{workdir}:{_joined(key.scales)}" for workdir, key in keys.items()]
    return Task(
        name=name,
        kind="fuse",
        arguments=("-m", "vgg_jax.fuse", *parts, *flags),
        waits_for=tuple(
            _name(seed, run, single, split)
            for run in runs
            for single in methods.singles(result.method)
        ),
        result=fusion.result_path(keys, out),
        log=sweep.log(name),
        workdir=out,
    )


def result_keys(
    sweep: Sweep, result: Result, seed: int, split: str, variant: Variant
) -> dict[Path, ResultKey]:
    """Returns the key of each run's posteriors in a result, by workdir, in the parts' order."""
    return {
        sweep.workdir(part.run, seed): ResultKey(split, result.method, sweep.scales(part), variant)
        for part in result.parts
    }


def train_config(sweep: Sweep, run: str, seed: int) -> ConfigDict:
    """Returns the config with which a sweep trains a run of the paper.

    Raises:
      UserError: An override sets a key that the config lacks.
    """
    return config_of([f"--config={sweep.config_file(run)}", *sweep.config_overrides(seed)])


def data_config(sweep: Sweep) -> ConfigDict:
    """Returns the config of net A's run, whose data settings all runs of a sweep share.

    Raises:
      UserError: An override sets a key that the config lacks.
    """
    return train_config(sweep, "a_256", 0)


def _main(sweep: Sweep, run: str, seed: int, *more: str) -> tuple[str, ...]:
    where = (f"--config={sweep.config_file(run)}", f"--workdir={sweep.workdir(run, seed)}")
    return ("-m", "vgg_jax.main", *where, *sweep.config_overrides(seed), *more)


def _name(seed: int, *parts: str) -> str:
    return (f"seed_{seed}/" if seed else "") + "-".join(filter(None, parts))


def _joined(scales: Iterable[int]) -> str:
    return ",".join(map(str, scales))
