"""Makes the paper's tables: every run in the order of the chain, evaluations, fusions, the report.

    python -m launch.sweep --tables=3,4,5 --root=runs --backend=local
    python -m launch.sweep --tables=3,4,5 --root=runs --backend=slurm --sbatch=--gpus-per-node=8
    python -m launch.sweep --tables=3,4,5,6 --root=runs/mini --mini   # an hour on two cores
    python -m launch.sweep --runs=e_multiscale --root=runs --dry_run  # one run and its chain

What stands behind `--`, --config.KEY=VALUE, is given to every run. Run again, a sweep does what is
missing; with Slurm it submits that and shows the rest. No device is touched here: each task is a
process of its own, or a job.
"""

import sys
from collections.abc import Collection, Sequence

from absl import flags

from launch.backends import devices, scheduler, sky, slurm
from launch.plan import finished, graph, paper, preview
from launch.report import publish
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.system import command_line

_TABLES = flags.DEFINE_list("tables", None, "Of the paper: some of 3,4,5,6,7.")
_RUNS = flags.DEFINE_list("runs", None, "Names of configs/, instead of tables.")
_ROOT = flags.DEFINE_string("root", "runs", "Folder of all workdirs; gs://... on clouds.")
_MINI = flags.DEFINE_boolean("mini", False, "Each run in miniature: configs/mini.py.")
_DATA = flags.DEFINE_string("data", "", "Folder with train/CLASS/ and val/CLASS/.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "How many times all is made.", 1)
_TEST_SPLIT = flags.DEFINE_string("test_split", "", "Tables 6 and 7 have posteriors of it too.")
_BACKEND = flags.DEFINE_enum("backend", "local", ["local", "slurm", "sky"], "Where runs run.")
_NODES = flags.DEFINE_integer("nodes", 1, "Of slurm and sky: machines a run.", 1)
_SBATCH = flags.DEFINE_string("sbatch", "", "Of slurm: more options, --sbatch='--gpus-per-node=8'.")
_ACCELERATOR = flags.DEFINE_string("accelerator", "", "Of sky: A100:8, tpu-v5e-64, ...")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Print what would be done.")


def main(argv: list[str]) -> None:
    """Makes the tables, or shows how."""
    sweep = graph.Sweep(
        files.path(_ROOT.value),
        mini=_MINI.value,
        data=_DATA.value,
        seeds=_SEEDS.value,
        overrides=_overrides(argv[1:]),
        test_split=_TEST_SPLIT.value,
    )
    _check_backend(sweep)
    tasks = graph.tasks(sweep, _results())
    # A dry run asks no bucket what is there.
    done = set() if _DRY_RUN.value and "://" in str(sweep.root) else finished.check(tasks)
    if _DRY_RUN.value:
        plan = [preview.commands(tasks, done), preview.picture(tasks)]
        print(*filter(None, [*plan, _preview(sweep, tasks, done)]), sep="\n\n")
        return
    sweep = sweep.with_saved()
    if _BACKEND.value == "slurm":
        slurm.submit(sweep, tasks, _NODES.value, _SBATCH.value)
        return
    failed = _run(sweep, tasks)
    if failed:
        logs = "".join(f"    {task.name}: {task.log}\n" for task in failed)
        print(f"{len(failed)} failed:\n{logs}", file=sys.stderr)
    print(*publish.write(sweep), sep="\n")
    if failed:
        raise UserError(f"{len(failed)} of the tasks failed. The same command tries them again.")


def _check_backend(sweep: graph.Sweep) -> None:
    """Refuses flags that the backend doesn't read."""
    backend = _BACKEND.value
    for flag, backends in (
        (_NODES, ("slurm", "sky")),
        (_SBATCH, ("slurm",)),
        (_ACCELERATOR, ("sky",)),
    ):
        if flag.present and backend not in backends:
            raise UserError(f"--{flag.name} is of --backend={' and '.join(backends)}.")
    if backend == "sky":
        sky.check(sweep, _ACCELERATOR.value, _NODES.value)
        return
    if "://" in str(sweep.root):
        raise UserError(f"--backend={backend} needs a --root on a disk, not {sweep.root}.")
    if sweep.data and not files.path(sweep.data).is_dir():
        raise UserError(
            f"--data={sweep.data} is no folder. Give the folder that holds train/CLASS/ and "
            "val/CLASS/; unpack an archive first."
        )


def _preview(sweep: graph.Sweep, tasks: Sequence[graph.Task], done: Collection[str]) -> str:
    if _BACKEND.value == "slurm":
        return slurm.preview(sweep, tasks, done, _NODES.value, _SBATCH.value)
    if _BACKEND.value == "sky":
        return sky.preview(tasks, _ACCELERATOR.value, _NODES.value)
    return ""


def _run(sweep: graph.Sweep, tasks: Sequence[graph.Task]) -> list[graph.Task]:
    if _BACKEND.value == "sky":
        return sky.run(sweep, tasks, _ACCELERATOR.value, _NODES.value)
    found = devices.find()
    print(f"on {found}")
    devices.check(found, graph.config_of(tasks[0].arguments).model_parallel)
    return scheduler.run(sweep, tasks, found, lambda task: [sys.executable, *task.arguments])


def _results() -> list[paper.Result]:
    if bool(_TABLES.value) == bool(_RUNS.value):
        raise UserError("Give either --tables=3,4,5 (of 3 to 7), or --runs=NAME,NAME.")
    if _RUNS.value:
        return graph.of_runs(_RUNS.value)
    numbers = [int(number) if number.isdecimal() else 0 for number in _TABLES.value]
    if not {*numbers} <= {*paper.TITLES}:
        raise UserError(f"--tables={','.join(_TABLES.value)}: choose some of 3, 4, 5, 6 and 7.")
    return [row.result for row in paper.rows(numbers) if row.result]


def _overrides(arguments: list[str]) -> tuple[str, ...]:
    other = [given for given in arguments if not given.startswith("--config.")]
    if other:
        raise UserError(
            f"Unknown arguments: {' '.join(other)}. Behind -- stand --config.KEY=VALUE alone."
        )
    return tuple(arguments)


if __name__ == "__main__":
    command_line.run(main)
