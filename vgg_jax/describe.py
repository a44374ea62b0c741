"""Prints Table 1's nets in numbers: sizes, weights, arithmetic, receptive fields.

    python -m vgg_jax.describe --net=D
    python -m vgg_jax.describe --net=all --image_px=384
    python -m vgg_jax.describe --net=all --picture=nets.png
    python -m vgg_jax.describe --net=D --batch=256
    python -m vgg_jax.describe --net=D --mesh=1,8

The third command draws the nets to scale instead. The fourth prints the memory of a training step
(see `vgg_jax.analysis.memory_table`), and the last one what devices exchange in it (see
`vgg_jax.analysis.virtual_mesh`). Only the last one imports JAX, so that the others answer at once.
"""

import pathlib

from absl import flags

from vgg_jax import plots
from vgg_jax.analysis import memory, memory_table, net_table, virtual_mesh
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.errors import UserError, require
from vgg_jax.nets import architectures
from vgg_jax.system import command_line

_NET = flags.DEFINE_string(
    "net",
    "all",
    f"The net to describe, one of {', '.join(architectures.NETS)}; or all, to compare them.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", 1000, "The number of classes, FC8's outputs, for example 10.", lower_bound=1
)
_WIDTH = flags.DEFINE_float(
    "width",
    1.0,
    "The factor on every hidden layer's number of channels, for example 0.25.",
    lower_bound=0.0,
)
_CROP_PX = flags.DEFINE_integer(
    "crop_px",
    224,
    "The side of the training crop, which FC6's kernel covers, in px, for example 96.",
)
_IMAGE_PX = flags.DEFINE_integer(
    "image_px", None, "The side of the image in px, for example 384. The default is the crop's."
)
_PICTURE = flags.DEFINE_string(
    "picture",
    None,
    "The file to draw the net in, or for --net=all the six nets of Table 1, for example nets.png. "
    "By default the net is printed.",
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "The number of images per device, for example 256: prints the memory of a training step. With "
    "--mesh it is the number on all devices together, by default 256.",
)
_MESH = flags.DEFINE_string(
    "mesh",
    None,
    "The numbers of devices along the mesh's axes as DATA,MODEL, for example 1,8: prints what they "
    "exchange in a training step.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    list(memory.DTYPES),
    "The dtype of the training step's arithmetic. By default both are shown; --mesh shows float32 "
    "only.",
)
_MICRO_BATCHES = flags.DEFINE_integer(
    "micro_batches",
    None,
    "The number of parts in which the training step computes its batch, for example 4. By default "
    "several are shown; with --mesh it is 1.",
)
_REMAT = flags.DEFINE_boolean(
    "remat",
    None,
    "Whether the training step's backward pass computes blocks again, to save memory. By default "
    "both are shown; with --mesh it is --noremat.",
)


def main(argv: list[str]) -> None:
    """Prints or draws what the flags ask for.

    Raises:
      UserError: The flags describe an impossible net or training step.
    """
    if len(argv) > 1:
        net = argv[1] if argv[1] in architectures.NETS else "D"
        raise UserError(f"Unexpected argument {argv[1]!r}. Name a net by --net={net}.")
    spec = NetSpec(_NET.value, _NUM_CLASSES.value, _WIDTH.value, _CROP_PX.value)
    step = StepSpec(_BATCH.value, _DTYPE.value, _MICRO_BATCHES.value, _REMAT.value)
    try:
        print(_text(spec, step) if _PICTURE.value is None else _drawn(spec, _PICTURE.value))
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
                f"--{flag.name} describes a training step. Add --batch=IMAGES or --mesh=DATA,MODEL."
            )
    write = net_table.comparison if spec.net == "all" else net_table.column
    return f"{write(spec, _IMAGE_PX.value)}\n\n{net_table.kernel_arithmetic()}"


def _drawn(spec: NetSpec, picture: str) -> str:
    """Draws the nets on images of the crop's size, and returns a line about the picture."""
    path = pathlib.Path(picture).expanduser()
    require(
        path.suffix.lower() in plots.SUFFIXES,
        f"--picture={picture} must be a file of a picture: {', '.join(plots.SUFFIXES)}.",
    )
    for flag in (_IMAGE_PX, _BATCH, _MESH, _DTYPE, _MICRO_BATCHES, _REMAT):
        require(flag.value is None, f"--picture shows no --{flag.name}. Leave one of them out.")

    from vgg_jax.analysis import net_picture
    from vgg_jax.plots import picture_file
    from vgg_jax.storage import files

    files.refuse_unwritable(path.parent)
    picture_file.write(net_picture.figure(spec), path, dpi=130)
    return f"{path} shows {'the nets' if spec.net == 'all' else f'net {spec.net}'}."


if __name__ == "__main__":
    command_line.run(main)
