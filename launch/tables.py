"""Writes what a sweep has made of Tables 3 to 7: `python -m launch.tables --root=runs`.

ROOT/tables.md, and ROOT/tables.html, a page in one file: each error beside the paper's, over seeds;
the comparisons that the paper draws, with intervals; what is missing, and what command makes it.
Arithmetic on the files that evaluations left; no device is needed.
"""

from absl import flags

from launch.plan.sweep_spec import Sweep
from launch.report import publish
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.system import command_line

_ROOT = flags.DEFINE_string("root", "runs", "The folder of the sweep's workdirs.")


def main(argv: list[str]) -> None:
    """Writes both files and prints where they are."""
    if argv[1:]:
        raise UserError(f"Unknown arguments: {' '.join(argv[1:])}. --root=FOLDER is all there is.")
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
