"""Checks that the runs that a sweep's workdirs already hold belong to the sweep."""

import functools
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from launch.plan.task import Task
from vgg_jax import config
from vgg_jax.data import settings as data_settings
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config, run_result, saved_steps
from vgg_jax.storage import files


def check(tasks: Sequence[Task]) -> None:
    """Checks every config, and that no workdir holds another run than this sweep's.

    Raises:
      UserError: A config is invalid; or a workdir holds a run with another config or other data, or
        one that started from a run that was trained again afterwards.
    """
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        if task.kind == "fuse":
            continue
        c = task.config()
        config.validate(c)
        finished = task.result.exists()
        if task.kind == "evaluate" or not (finished or saved_steps.has_checkpoint(task.workdir)):
            continue
        differing = run_config.differences(c, task.workdir)
        if finished:
            differing += _other_data(task, c) + _other_source(task, by_name)
        if differing:
            raise UserError(
                f"{task.workdir} holds another run than this sweep's {task.name}:\n{differing}"
                "Choose another --root, or remove that workdir and those of the runs that start "
                "from it."
            )


def _other_data(task: Task, c: ConfigDict) -> str:
    result = run_result.read(task.workdir)
    keys = ("train_fingerprint", "val_fingerprint")
    # Results of earlier versions have no fingerprints, and data of cloud runs can't be read here.
    if not result.keys() >= {*keys} or "://" in c.data.dir or "://" in str(task.workdir):
        return ""
    if c.data.undecodable == "leave_out":  # Only a scan could tell which images were left.
        return ""
    ours = _fingerprints(data_settings.data_spec(c))
    same = ours == tuple(result[key] for key in keys)
    return "" if same else "    its images aren't those that data.name and data.dir have now\n"


def _other_source(task: Task, by_name: Mapping[str, Task]) -> str:
    newer = [
        f"    {name}, which it started from, was trained again afterwards\n"
        for name in task.waits_for
        if by_name[name].result.exists()
        and files.modified_s(by_name[name].result) > files.modified_s(task.result)
    ]
    return "".join(newer)


@functools.cache
def _fingerprints(data: DataSpec) -> tuple[str, ...]:
    return tuple(source.fingerprint for source in open_sources(data))
