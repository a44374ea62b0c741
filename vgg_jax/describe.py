"""Prints Table 1's nets in numbers: sizes, weights, arithmetic, receptive fields.

    python -m vgg_jax.describe --net=D
    python -m vgg_jax.describe --net=all --image_px=384
    python -m vgg_jax.describe --net=D --batch=256
    python -m vgg_jax.describe --net=D --mesh=1,8

The third prints the memory of a training step instead: see `vgg_jax.analysis.memory_table`; the
last what devices exchange in it: see `vgg_jax.analysis.virtual_mesh`. JAX is imported for the last
alone, so that the others answer at once.
"""

from absl import flags

from vgg_jax.analysis import memory, memory_table, net_table, virtual_mesh
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.errors import UserError
from vgg_jax.nets import architectures
from vgg_jax.system import command_line

_NET = flags.DEFINE_string(
    "net", "all", f"The net, one of {', '.join(architectures.NETS)}; or all to compare them."
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "FC8 has so many outputs.", lower_bound=1)
_WIDTH = flags.DEFINE_float(
    "width", 1.0, "The width multiplies every hidden layer's channels: 0.25.", lower_bound=0.0
)
_CROP_PX = flags.DEFINE_integer(
    "crop_px", 224, "The training crop, which FC6's kernel covers, has this side in px."
)
_IMAGE_PX = flags.DEFINE_integer(
    "image_px", None, "The image has this side in px: 384. The default is the crop's."
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Prints the memory of a training step with so many images on a device: 256. With --mesh the "
    "images are those on all devices, and 256 if not given.",
)
_MESH = flags.DEFINE_string(
    "mesh", None, "DATA,MODEL prints what so many devices exchange in a training step: 1,8."
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    list(memory.DTYPES),
    "The step computes in this type. The default shows both; --mesh has float32 alone.",
)
_MICRO_BATCHES = flags.DEFINE_integer(
    "micro_batches", None, "The step computes its batch in so many parts: 4."
)
_REMAT = flags.DEFINE_boolean(
    "remat", None, "The step computes blocks again on its backward pass, to save memory."
)


def main(argv: list[str]) -> None:
    """Prints what the flags ask for.

    Raises:
      UserError: The flags describe no net or no training step.
    """
    if len(argv) > 1:
        raise UserError(f"Unexpected argument {argv[1]!r}. Name the net with --net={argv[1]}.")
    spec = NetSpec(_NET.value, _NUM_CLASSES.value, _WIDTH.value, _CROP_PX.value)
    step = StepSpec(_BATCH.value, _DTYPE.value, _MICRO_BATCHES.value, _REMAT.value)
    try:
        print(_text(spec, step))
    except ValueError as error:
        raise UserError(str(error)) from error


def _text(spec: NetSpec, step: StepSpec) -> str:
    if _MESH.value is not None:
        return virtual_mesh.compiled_traffic(spec, step, _MESH.value)
    if step.batch is not None:
        return memory_table.table(spec, step)
    for flag in (_DTYPE, _MICRO_BATCHES, _REMAT):
        if flag.value is not None:
            raise UserError(
                f"--{flag.name} is of a training step. Add --batch=IMAGES or --mesh=DATA,MODEL."
            )
    write = net_table.comparison if spec.net == "all" else net_table.column
    return f"{write(spec, _IMAGE_PX.value)}\n\n{net_table.kernel_arithmetic()}"


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    command_line.run(main, _parse_flags)
