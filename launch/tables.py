"""Writes a sweep's report on Tables 3 to 7: `python -m launch.tables --root=runs`.

The report is ROOT/tables.md and ROOT/tables.html, a page in one file. It shows each error beside
the paper's, as a mean over seeds; the comparisons that the paper draws, with intervals; and what is
missing, with the command that makes it. It is computed from the files of evaluations, without any
device.
"""

from absl import flags

from launch.plan import paper
from launch.plan.sweep_spec import Sweep
from launch.report import publish
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config
from vgg_jax.storage import files
from vgg_jax.system import command_line

_ROOT = flags.DEFINE_string(
    "root", "runs", "The folder of the sweep's workdirs, for example runs/caltech."
)


def main(argv: list[str]) -> None:
    """Writes both files and prints where they are."""
    if argv[1:]:
        raise UserError(f"Unknown arguments: {' '.join(argv[1:])}. The only flag is --root=FOLDER.")
    root = files.path(_ROOT.value)
    if not root.is_dir():
        raise UserError(
            f"There is no folder {root}. Name the --root of a sweep; "
            "`python -m launch.sweep` makes one."
        )
    sweep = Sweep.load(root)
    if not _is_of_a_sweep(sweep):
        raise UserError(
            f"{root} holds no sweep: neither a sweep.json nor a run of the paper, such as "
            f"{sweep.workdir('a_256', 0)}. Name the --root of a sweep."
        )
    for path in publish.write(sweep):
        print(path)


def _is_of_a_sweep(sweep: Sweep) -> bool:
    """Returns whether a sweep has begun in its root, or runs of the paper were made there."""
    names = {part.run for row in paper.ROWS if row.result for part in row.result.parts}
    runs = (sweep.workdir(name, 0) for name in names)
    return sweep.file.exists() or any(run_config.path(run).exists() for run in runs)


if __name__ == "__main__":
    command_line.run(main)
