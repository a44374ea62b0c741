"""The text that `--dry_run` prints: the commands of a sweep in order, and its graph."""

from collections.abc import Collection, Mapping, Sequence

from launch.plan.task import Task
from vgg_jax.system import progress_bar


def commands(tasks: Sequence[Task], done: Collection[str], seconds: Mapping[str, float]) -> str:
    """Returns the commands, in an order in which they can run, with the tasks that each waits for.

    Args:
      tasks: All tasks, each after those that it waits for.
      done: The names of the tasks that are done.
      seconds: The seconds of some tasks: see `times.of_tasks`.
    """
    width = max(len(task.name) for task in tasks)
    lines = []
    for number, task in enumerate(tasks, 1):
        waits = f"waits for {', '.join(task.waits_for)}" if task.waits_for else "waits for nothing"
        is_done = "; is done" if task.name in done else ""
        if task.name in seconds:
            took = progress_bar.interval(seconds[task.name])
            is_done += f", took {took}" if is_done else f"; will take about {took}"
        about = f"{task.config_file}  " if task.config_file else ""
        lines += [
            f"{number:3}  {task.name:<{width}}  {about}{waits}{is_done}",
            f"     {task.command}",
        ]
    return "\n".join(lines)


def picture(tasks: Sequence[Task]) -> str:
    """Returns the graph drawn as a tree, each task below the first one that it waits for."""
    below: dict[str, list[Task]] = {task.name: [] for task in tasks}
    for task in tasks:
        if task.waits_for:
            below[task.waits_for[0]].append(task)

    def draw(task: Task, indent: str, branch: str, below_indent: str) -> list[str]:
        others = f"  (and {', '.join(task.waits_for[1:])})" if task.waits_for[1:] else ""
        lines = [f"{indent}{branch}{task.name}{others}"]
        children = below[task.name]
        for child in children:
            last = child is children[-1]
            lines += draw(
                child, indent + below_indent, "└─ " if last else "├─ ", "   " if last else "│  "
            )
        return lines

    roots = [task for task in tasks if not task.waits_for]
    return "\n".join(line for root in roots for line in draw(root, "", "", ""))
