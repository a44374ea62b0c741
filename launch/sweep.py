"""Makes the paper's tables: every run in the order of the chain, evaluations, fusions, the report.

    python -m launch.sweep --tables=3,4,5 --root=runs --backend=local
    python -m launch.sweep --tables=3,4,5 --root=runs --backend=slurm --sbatch=--gpus-per-node=8
    python -m launch.sweep --tables=3,4,5,6 --root=runs/mini --mini   # 43 minutes on two cores
    python -m launch.sweep --runs=e_multiscale --root=runs --dry_run  # one run and its chain

What stands behind `--`, --config.KEY=VALUE, is given to every run. Run again, a sweep does what is
missing; with Slurm it submits that and shows the rest. No device is touched here: each task is a
process of its own, or a job.
"""

import sys
from collections.abc import Sequence

from absl import flags

from launch.backends import registry
from launch.backends.interface import Backend
from launch.plan import finished, graph, preview, selection, workdirs
from launch.plan.paper import Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from launch.report import publish
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.system import command_line

_TABLES = flags.DEFINE_list("tables", None, "The paper's tables to make: some of 3,4,5,6,7.")
_RUNS = flags.DEFINE_list("runs", None, "The runs to make instead of tables: names of configs/.")
_ROOT = flags.DEFINE_string(
    "root", "runs", "The folder of all workdirs; for clouds a bucket: gs://BUCKET/FOLDER."
)
_MINI = flags.DEFINE_boolean("mini", False, "Whether each run is a miniature: configs/mini.py.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    "The images: a folder with train/CLASS/ and val/CLASS/, or FILE.csv; else the configs' own.",
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "How many times everything is made.", 1)
_TEST_SPLIT = flags.DEFINE_string(
    "test_split", "", "A split whose posteriors Tables 6 and 7 have too, such as test."
)
_BACKEND = flags.DEFINE_enum("backend", "local", [*registry.BACKENDS], "Where the runs run.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Whether it only prints what would be done.")

# A backend reads those of which its class has fields.
flags.DEFINE_integer("nodes", 1, "How many machines a run has, on a cluster or in a cloud.", 1)
flags.DEFINE_string("sbatch", "", "More of sbatch's options, such as '--gpus-per-node=8'.")
flags.DEFINE_string("accelerator", "", "What a run has in a cloud, such as A100:8 or tpu-v5e-64.")


def main(argv: list[str]) -> None:
    """Makes the tables, or shows how."""
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
    """Prints the commands, the graph and what else the backend would write."""
    done: set[str] = set()
    if not sweep.is_in_bucket:  # A dry run asks no bucket what is there.
        workdirs.check(tasks)
        done = finished.done(tasks)
    parts = [
        preview.commands(tasks, done),
        preview.picture(tasks),
        backend.preview(sweep, tasks, done),
    ]
    print("\n\n".join(filter(None, parts)))


def _wanted() -> list[Result]:
    if bool(_TABLES.value) == bool(_RUNS.value):
        raise UserError("Give either --tables=3,4,5 (of 3 to 7), or --runs=NAME,NAME.")
    if _RUNS.value:
        return selection.of_runs(_RUNS.value)
    return selection.of_tables(_TABLES.value)


def _overrides(arguments: list[str]) -> tuple[str, ...]:
    other = [given for given in arguments if not given.startswith("--config.")]
    if other:
        raise UserError(
            f"Unknown arguments: {' '.join(other)}. Behind -- stand --config.KEY=VALUE alone."
        )
    return tuple(arguments)


if __name__ == "__main__":
    command_line.run(main)
