"""What of a sweep is there already, and whether it belongs to this sweep."""

import functools
import json
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from launch.plan.graph import Task, config_of
from vgg_jax import config
from vgg_jax.data import settings as data_settings
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.splits import open_sources
from vgg_jax.errors import UserError
from vgg_jax.evaluation.result_key import Variant
from vgg_jax.runs import run_config, saved_steps
from vgg_jax.storage import files


def done(tasks: Sequence[Task]) -> set[str]:
    """Returns the names of the tasks whose results are there, and are of what they wait for now."""
    by_name = {task.name: task for task in tasks}
    return {task.name for task in tasks if _is_done(task, by_name)}


def is_done(task: Task, tasks: Sequence[Task]) -> bool:
    """Tells whether a task's result is there, and is of what it waits for now."""
    return _is_done(task, {other.name: other for other in tasks})


def _is_done(task: Task, by_name: Mapping[str, Task]) -> bool:
    if not task.result.exists():
        return False
    if task.kind == "train":
        return True
    sources = [by_name[name] for name in task.waits_for]
    if not all(_is_done(source, by_name) for source in sources):
        return False
    if task.kind == "evaluate":
        step = json.loads(task.result.read_text())["checkpoint_step"]
        variant = Variant.from_config(config_of(task.arguments))
        if variant.checkpoint == "last" and step != saved_steps.last_step(task.workdir):
            return False
    # A run of the same length may have taken the place of the one that was evaluated.
    made_s = files.modified_s(task.result)
    return all(files.modified_s(source.result) <= made_s for source in sources)


def check(tasks: Sequence[Task]) -> set[str]:
    """Checks every run's config, and that what its workdir holds is this run.

    Returns:
      See `done`.

    Raises:
      UserError: A config is impossible, or a workdir holds a run with another config or other data.
    """
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        if task.kind == "fuse":
            continue
        c = config_of(task.arguments)
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
    return done(tasks)


def _other_data(task: Task, c: ConfigDict) -> str:
    result = json.loads(task.result.read_text())
    keys = ("train_fingerprint", "val_fingerprint")
    # Results that were made by earlier versions have none; data that clouds read aren't here.
    if not result.keys() >= {*keys} or "://" in c.data.dir or "://" in str(task.workdir):
        return ""
    ours = _fingerprints(data_settings.data_spec(c))
    same = ours == tuple(result[key] for key in keys)
    return "" if same else "    other images there than data.name and data.dir have now\n"


def _other_source(task: Task, by_name: Mapping[str, Task]) -> str:
    newer = [
        f"    {name} was trained again since, which this run starts from\n"
        for name in task.waits_for
        if by_name[name].result.exists()
        and files.modified_s(by_name[name].result) > files.modified_s(task.result)
    ]
    return "".join(newer)


@functools.cache
def _fingerprints(data: DataSpec) -> tuple[str, ...]:
    return tuple(source.fingerprint for source in open_sources(data))
