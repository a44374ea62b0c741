"""Makes the paper's tables: trains the chain of runs, evaluates and fuses them, writes the report.

    python -m launch.sweep --tables=3,4,5 --root=runs --backend=local
    python -m launch.sweep --tables=3,4,5 --root=runs --backend=slurm --sbatch=--gpus-per-node=8
    python -m launch.sweep --tables=3,4,5,6 --root=runs/mini --mini   # 43 minutes on two cores
    python -m launch.sweep --runs=e_multiscale --root=runs --dry_run  # one run and its chain

Overrides --config.KEY=VALUE after `--` are passed to every run. The same command again makes only
what is missing; with Slurm it submits that and shows the state of the rest. This process uses no
device: each task is a separate process or job.
"""

import itertools
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from launch.backends import registry
from launch.backends.interface import Backend
from launch.backends.registry import BACKENDS
from launch.plan import finished, graph, preview, selection, times, workdirs
from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from launch.report import publish
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.system import command_line, flag_parsing

_TABLES = flags.DEFINE_list(
    "tables", None, "The paper's tables to make, some of 3 to 7, for example 3,4,5."
)
_RUNS = flags.DEFINE_list(
    "runs",
    None,
    "The runs to make instead of tables: names of files in configs/, for example d_256,e_256. "
    "The runs that they start from are made too.",
)
_ROOT = flags.DEFINE_string(
    "root",
    "runs",
    "The folder of all workdirs, for example runs/caltech; for --backend=sky a bucket: "
    "gs://BUCKET/FOLDER.",
)
_MINI = flags.DEFINE_boolean(
    "mini", False, "Whether each run is a miniature with a crop of 64 px, as in configs/mini.py."
)
_DATA = flags.DEFINE_string(
    "data",
    "",
    "The images: a folder that holds train/CLASS/ and val/CLASS/, for example /data/imagenet, or a "
    "CSV file of images, FILE.csv; for --backend=sky in a bucket. The default is the data that the "
    "configs name.",
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 1, "How many times everything is made, each time with another seed, for example 3.", 1
)
_TEST_SPLIT = flags.DEFINE_string(
    "test_split",
    "",
    "Another split on which the results of Tables 6 and 7 are evaluated too, for example test: "
    "its errors, or its predictions if it has no labels. The default is none.",
)
_BACKEND = flags.DEFINE_enum(
    "backend",
    "local",
    [*BACKENDS],
    "Where the tasks run. "
    + " ".join(f"{name}: {kind.__doc__.splitlines()[0]}" for name, kind in BACKENDS.items()),
)
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run", False, "Whether to print the commands and their graph without running anything."
)

# Each backend reads the flags that its class has a field for.
flags.DEFINE_integer(
    "tasks_per_gpu",
    1,
    "How many tasks share each GPU with --backend=local. Small runs that leave a GPU idle are done "
    "sooner with, for example, 4. Each run then trains on one GPU.",
    1,
)
flags.DEFINE_integer(
    "nodes", 1, "How many machines each run gets with --backend=slurm or sky, for example 2.", 1
)
flags.DEFINE_string(
    "sbatch",
    "",
    "More options of sbatch for each job of --backend=slurm, for example "
    "'--gpus-per-node=8 --time=1-0'.",
)
flags.DEFINE_string(
    "accelerator",
    "",
    "The accelerator of each machine or TPU pod with --backend=sky, as SkyPilot names it, for "
    "example A100:8 or tpu-v5e-64.",
)


def main(argv: list[str]) -> None:
    """Makes the tables, or with --dry_run prints the commands that make them."""
    sweep = Sweep(
        files.path(_ROOT.value),
        mini=_MINI.value,
        data=_DATA.value,
        seeds=_SEEDS.value,
        overrides=_overrides(argv[1:]),
        test_split=_TEST_SPLIT.value,
    )
    backend = registry.make(_BACKEND.value, flags.FLAGS)
    backend.check(sweep)
    tasks = graph.tasks(sweep, _wanted())
    if _DRY_RUN.value:
        _show(sweep, tasks, backend)
        return
    workdirs.check(tasks)
    sweep = sweep.with_saved()
    failed = backend.run(sweep, tasks)
    if failed is None:
        return
    if failed:
        logs = "".join(f"    {task.name}: {task.log}\n" for task in failed)
        print(f"{len(failed)} failed:\n{logs}", file=sys.stderr)
    print(*publish.write(sweep), sep="\n")
    if failed:
        raise UserError(f"{len(failed)} of the tasks failed. The same command tries them again.")


def _show(sweep: Sweep, tasks: Sequence[Task], backend: Backend) -> None:
    """Prints the commands, the graph, and the files and commands that the backend adds."""
    done: set[str] = set()
    seconds: dict[str, float] = {}
    summary = ""
    if not sweep.is_in_bucket:  # A dry run reads nothing from a bucket.
        workdirs.check(tasks)
        done = finished.done(tasks)
        seconds = times.of_tasks(tasks, done)
        summary = times.summary(tasks, done, seconds)
    parts = [
        "\n".join(filter(None, [preview.commands(tasks, done, seconds), summary])),
        preview.picture(tasks),
        backend.preview(sweep, tasks, done),
    ]
    print("\n\n".join(filter(None, parts)))


def _wanted() -> list[Result]:
    if bool(_TABLES.value) == bool(_RUNS.value):
        raise UserError("Give either --tables=3,4,5 (some of 3 to 7) or --runs=NAME,NAME.")
    if _RUNS.value:
        return selection.of_runs(_RUNS.value)
    return selection.of_tables(_TABLES.value)


def _overrides(arguments: list[str]) -> tuple[str, ...]:
    other = [given for given in arguments if not given.startswith("--config.")]
    if other:
        raise UserError(
            f"Unknown arguments: {' '.join(other)}. Only --config.KEY=VALUE may follow --."
        )
    return tuple(arguments)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command's flags; returns the program's name and the arguments that are left.

    Raises:
      UserError: A key of the config stands before `--`, or see `flag_parsing.parse`.
    """
    before = itertools.takewhile(lambda argument: argument != "--", argv)
    keys = [argument for argument in before if argument.startswith("--config.")]
    if keys:
        raise UserError(f"Put the keys of the config at the end, behind --: -- {shlex.join(keys)}.")
    return flag_parsing.parse(argv)


if __name__ == "__main__":
    command_line.run(main, parse_flags, goes_on=True)
