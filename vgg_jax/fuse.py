"""Averages the posteriors of several runs (§4.4): `python -m vgg_jax.fuse runs/A runs/B`.

    python -m vgg_jax.fuse runs/d_multiscale runs/e_multiscale --method=both --scales=256,384,512
    python -m vgg_jax.fuse runs/d_256:224,256,288 runs/d_384:352,384,416  # each at its own Q

It computes with the files that evaluations have written, and needs no device.
"""

import os
import pathlib
import re
from typing import get_args

from absl import flags

from vgg_jax import safe_text
from vgg_jax.errors import require
from vgg_jax.evaluation import fusion, methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.restriction import Classes, Restriction
from vgg_jax.evaluation.result_key import Variant
from vgg_jax.storage import files
from vgg_jax.system import command_line

_METHOD = flags.DEFINE_string(
    "method",
    "dense",
    "The method of the evaluations that are averaged: dense, multicrop, both, tencrop, or a method "
    "of your own as MODULE:NAME, for example my_method:METHOD.",
)
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "The test scales Q in px, for example 256,384,512. The default is each run's own.",
)
_SPLIT = flags.DEFINE_string(
    "split",
    None,
    "The split that the runs were evaluated on, for example test, or the name of another set, for "
    "example imagenet-a. The default is the split that the first run was validated on.",
)
_VARIANT = flags.DEFINE_string(
    "variant",
    "",
    "The settings that follow Q in the names of the evaluations' files, for example best-ceil. By "
    "default there are none, and the evaluations had the standard settings.",
)
_CLASSES = flags.DEFINE_enum(
    "classes",
    "all",
    get_args(Classes),
    "The classes that count: all of the nets', or those that are present in the images, to which "
    "the average is restricted and renormalised.",
)
_LABELS = flags.DEFINE_string(
    "labels",
    "",
    "A JSON file with a list of right labels per image, for example real.json. By default each "
    "image's own label is right.",
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The folder for the result, for example runs/fused. The default is the folder fused beside the "
    "first run.",
)

_TWO_OR_MORE = "Give the workdirs of two runs or more, each once."


def main(argv: list[str]) -> None:
    """Fuses the runs that are given as WORKDIR or WORKDIR:Q,Q,..."""
    methods.check("--method", _METHOD.value)
    scales, runs = evaluation_settings.parse_scales(_SCALES.value), {}
    for argument in argv[1:]:
        workdir, own = re.fullmatch(r"(.+?)(?::([\d,]+))?", argument).groups()
        of_run = evaluation_settings.parse_scales(own.split(",")) if own else scales
        runs[files.path(workdir)] = of_run
    require(len(runs) > 1, _TWO_OR_MORE)
    variant = Variant.parse(_VARIANT.value)
    restriction = Restriction(_CLASSES.value, _LABELS.value)
    restriction.check_choice()
    keys = fusion.keys_of(runs, _METHOD.value, _SPLIT.value, variant, restriction)
    require(len({path.resolve() for path in runs}) == len(argv) - 1, _TWO_OR_MORE)
    out = files.path(_OUT.value) if _OUT.value else _beside(next(iter(runs)))
    files.refuse_unwritable(out, "Name a folder for the result with --out.")
    print(safe_text.lines(fusion.fuse(keys, out)))
    print(f"The result is in {files.printable(fusion.result_path(keys, out))}.")


def _beside(workdir: files.Path) -> files.Path:
    if not files.in_bucket(workdir):
        workdir = pathlib.Path(os.path.abspath(workdir))  # "." has no parent, and links stay.
    return workdir.parent / "fused"


if __name__ == "__main__":
    command_line.run(main)
