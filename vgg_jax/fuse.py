"""Averages the posteriors of several runs (§4.4): `python -m vgg_jax.fuse runs/A runs/B`.

    python -m vgg_jax.fuse runs/d_multiscale runs/e_multiscale --method=both --scales=256,384,512
    python -m vgg_jax.fuse runs/d_256:224,256,288 runs/d_384:352,384,416  # each at its own Q

Arithmetic on the files that evaluations left; no device is needed.
"""

import re

from absl import flags

from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.storage import files
from vgg_jax.system import command_line

_METHOD = flags.DEFINE_enum(
    "method", "dense", list(evaluation_settings.METHODS), "Of the evaluations."
)
_SCALES = flags.DEFINE_list("scales", None, "Q, px. Default: what each run's config says.")
_SPLIT = flags.DEFINE_string("split", None, "Default: what the first run was validated on.")
_VARIANT = flags.DEFINE_string("variant", "", "What stands behind Q in the files' names.")
_OUT = flags.DEFINE_string("out", None, "Folder for the result. Default: fused, beside the runs.")


def main(argv: list[str]) -> None:
    """Fuses the runs that are given as WORKDIR or WORKDIR:Q,Q,..."""
    scales, runs = evaluation_settings.parse_scales(_SCALES.value), {}
    for argument in argv[1:]:
        workdir, own = re.fullmatch(r"(.+?)(?::([\d,]+))?", argument).groups()
        of_run = evaluation_settings.parse_scales(own.split(",")) if own else scales
        runs[files.path(workdir)] = of_run
    if len(runs) < 2 or len({path.resolve() for path in runs}) < len(argv) - 1:
        raise UserError("Give the workdirs of two runs or more, each once.")
    out = files.path(_OUT.value) if _OUT.value else next(iter(runs)).parent / "fused"
    print(fusion.fuse(runs, _METHOD.value, _SPLIT.value, out, variant=_VARIANT.value))


if __name__ == "__main__":
    command_line.run(main)
