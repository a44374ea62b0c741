"""Writes a sweep's report on Tables 3 to 7: `python -m launch.tables --root=runs`.

The report is ROOT/tables.md and ROOT/tables.html, a page in one file. It shows each error beside
the paper's, as a mean over seeds; the comparisons that the paper draws, with intervals; and what is
missing, with the command that makes it. It is computed from the files of evaluations, without any
device.
"""

from absl import flags

from launch.plan.sweep_spec import Sweep
from launch.report import publish
from vgg_jax.errors import UserError
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
    for path in publish.write(Sweep.load(root)):
        print(path)


if __name__ == "__main__":
    command_line.run(main)
