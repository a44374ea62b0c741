"""Makes the paper's tables: every run in the order of the chain, evaluations, fusions, the report.

    python -m launch.sweep --tables=3,4,5 --root=runs --backend=local
    python -m launch.sweep --tables=3,4,5 --root=runs --backend=slurm --nodes=2
    python -m launch.sweep --tables=3,4,5,6 --root=runs/mini --mini   # an hour on two cores
    python -m launch.sweep --runs=e_multiscale --root=runs --dry_run  # one run and its chain

What stands behind `--`, --config.KEY=VALUE, is given to every run. Run again, a sweep does what is
missing. No device is touched here: each task is a process of its own.
"""

from absl import flags

from launch import graph, local, paper, preview, state
from vgg_jax import commands, files
from vgg_jax.errors import UserError

_TABLES = flags.DEFINE_list("tables", None, "Of the paper: some of 3,4,5,6,7.")
_RUNS = flags.DEFINE_list("runs", None, "Names of configs/, instead of tables.")
_ROOT = flags.DEFINE_string("root", "runs", "Folder of all workdirs; gs://... on clouds.")
_MINI = flags.DEFINE_boolean("mini", False, "Each run in miniature: configs/mini.py.")
_DATA = flags.DEFINE_string("data", "", "Folder with train/CLASS/ and val/CLASS/.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "How many times all is made.", 1)
_TEST_SPLIT = flags.DEFINE_string("test_split", "", "Tables 6 and 7 have posteriors of it too.")
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
    tasks = graph.tasks(sweep, _results())
    state.check(tasks)
    if _DRY_RUN.value:
        print(preview.commands(tasks, state.done(tasks)), preview.picture(tasks), sep="\n\n")
        return
    sweep.save()
    failed = local.run(sweep, tasks)
    if failed:
        logs = "".join(f"    {task.name}: {task.log}\n" for task in failed)
        raise UserError(f"{len(failed)} failed:\n{logs}The same command tries again.")


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
    commands.run(main)
