"""Finds which tasks of a sweep are done."""

from collections.abc import Mapping, Sequence

from launch.plan.task import Task
from vgg_jax.evaluation import results
from vgg_jax.evaluation.result_key import Variant
from vgg_jax.runs import saved_steps
from vgg_jax.storage import files


def done(tasks: Sequence[Task]) -> set[str]:
    """Returns the names of the tasks of a sweep that are done; see `is_done`."""
    by_name = {task.name: task for task in tasks}
    return {task.name for task in tasks if is_done(task, by_name)}


def is_done(task: Task, by_name: Mapping[str, Task]) -> bool:
    """Returns whether a task is done.

    A training run is done once its result exists. An evaluation or a fusion is done if its result
    exists, and the tasks that it waits for are done and have results that are no newer. If the last
    checkpoint was evaluated, it must still be the run's last one.

    Args:
      task: The task.
      by_name: All tasks of the sweep, by their names.
    """
    if not task.result.exists():
        return False
    if task.kind == "train":
        return True
    sources = [by_name[name] for name in task.waits_for]
    if not all(is_done(source, by_name) for source in sources):
        return False
    if task.kind == "evaluate":
        step = results.read_result(task.result).get("checkpoint_step")
        variant = Variant.from_config(task.config())
        if variant.checkpoint == "last" and step != saved_steps.last_step(task.workdir):
            return False
    # The run that was evaluated may have been replaced by another one of the same length.
    made_s = files.modified_s(task.result)
    return all(files.modified_s(source.result) <= made_s for source in sources)
