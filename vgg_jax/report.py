"""Writes the report of a run for people: `python -m vgg_jax.report runs/mine`.

The report is one HTML file: curves, errors by class, the confusion matrix, the most certain errors,
calibration and times. It shows what evaluations have computed, and computes no posteriors.
"""

from absl import flags

from vgg_jax.errors import UserError, require
from vgg_jax.evaluation import methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.run_report import report
from vgg_jax.runs import run_config
from vgg_jax.storage import files
from vgg_jax.system import command_line

_METHOD = flags.DEFINE_string(
    "method",
    None,
    "The method of the evaluation that is shown: dense, multicrop, both, tencrop, or a method of "
    "your own as MODULE:NAME. The default is the run's own.",
)
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "The test scales Q in px, for example 256,384. The default is the run's own.",
)
_SPLIT = flags.DEFINE_string(
    "split",
    None,
    "The split that the run was evaluated on, for example test, or the name of another set, for "
    "example imagenet-a. The default is the split that it was validated on.",
)
_VARIANT = flags.DEFINE_string(
    "variant",
    "",
    "The settings that follow Q in the names of the evaluation's files, for example best-ceil. By "
    "default there are none, and the evaluation had the standard settings.",
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The file of the report. The default is report.html in the run's folder, or with another "
    "--split report-SPLIT.html.",
)


def main(argv: list[str]) -> None:
    """Writes the report of the run whose workdir is given."""
    if len(argv) != 2:
        raise UserError("Give the workdir of one run, for example runs/mine.")
    workdir = files.path(argv[1])
    own = ResultKey.from_config(run_config.existing(workdir))
    if _METHOD.value:
        methods.check("--method", _METHOD.value)
    scales = evaluation_settings.parse_scales(_SCALES.value)
    key = ResultKey(
        _SPLIT.value or own.split,
        _METHOD.value or own.method,
        scales or own.scales,
        Variant.parse(_VARIANT.value),
    )
    path = files.path(_OUT.value) if _OUT.value else workdir / report.file_name(key, own.split)
    require(not path.is_dir(), f"--out={path} is a folder. Name a file.")
    files.refuse_unwritable(path.parent, "Name a file with --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(workdir, key, path)
    print(path)


if __name__ == "__main__":
    command_line.run(main)
