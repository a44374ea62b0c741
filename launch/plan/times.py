"""How long the tasks of a sweep take, by those of its tasks that are done."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from launch.plan.task import Task
from vgg_jax.counted import counted
from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, results
from vgg_jax.runs import run_config
from vgg_jax.system import progress_bar
from vgg_jax.training import metrics_file


def of_tasks(tasks: Sequence[Task], done: Collection[str]) -> dict[str, float]:
    """Returns the seconds that tasks took, or will take, by their names.

    A task that isn't done takes as long as the same task of another seed did. Nothing is known of
    any other, because nothing was measured.

    Args:
      tasks: All tasks.
      done: The names of the tasks that are done.
    """
    took = {task.name: seconds for task in tasks if task.name in done for seconds in _took(task)}
    alike = {_without_seed(name): seconds for name, seconds in took.items()}
    known = {task.name: alike.get(_without_seed(task.name)) for task in tasks} | took
    return {name: seconds for name, seconds in known.items() if seconds is not None}


def summary(tasks: Sequence[Task], done: Collection[str], seconds: Mapping[str, float]) -> str:
    """Returns what is known about how long the tasks that are left take, as sentences.

    Args:
      tasks: All tasks.
      done: The names of the tasks that are done.
      seconds: The seconds of some tasks: see `of_tasks`. Fusions take no time worth mentioning.
    """
    left = [task.name for task in tasks if task.name not in done and task.kind != "fuse"]
    known = [seconds[name] for name in left if name in seconds]
    sentences = []
    if known:
        sentences.append(
            f"{counted(len(known), 'tasks')} of those that are left will take about "
            f"{progress_bar.interval(sum(known))} in all, as with another seed."
        )
    if len(known) < len(left):
        sentences.append(
            f"How long {counted(len(left) - len(known), 'tasks')} will take isn't known yet, "
            "because none like them is done. While a task runs, its log says how long is left."
        )
    return " ".join(sentences)


def _took(task: Task) -> Iterable[float]:
    """Yields the seconds that a finished task computed, if its files say so."""
    if task.kind == "fuse":
        return
    try:
        seconds = _trained_s(task) if task.kind == "train" else _evaluated_s(task)
    except UserError:  # A damaged file is reported where it is used.
        return
    if seconds is not None:
        yield seconds


def _trained_s(task: Task) -> float | None:
    records = metrics_file.read(task.workdir, "train")
    rates = [record["images_per_s"] for record in records if "images_per_s" in record]
    if not rates:  # It was imported, for example.
        return None
    images = records[-1]["step"] * run_config.existing(task.workdir).batch_size
    return images / statistics.median(rates)


def _evaluated_s(task: Task) -> float | None:
    made_by = results.read_result(task.result).get("made_by", {})
    passes = list(posteriors.parts_made_by(made_by))
    if not passes or any("seconds" not in one for one in passes):
        return None
    return sum(one["seconds"] + one.get("compile_s", 0) for one in passes)


def _without_seed(name: str) -> str:
    return name.rpartition("/")[2]
