"""Measures this code beside what a user would pick instead, and prints a table and a ratio.

    python -m launch.benchmark train --net=D       # training steps, beside PyTorch's
    python -m launch.benchmark eval --net=D --scale=384    # dense evaluation, beside PyTorch's
    python -m launch.benchmark input --data=FOLDER # random crops, beside Pillow's
    python -m launch.benchmark loop --data=FOLDER  # an epoch, beside its steps and its input
    python -m launch.benchmark start --net=D       # from the command to the first step
    python -m launch.benchmark methods --workdir=runs/caltech    # the methods of one trained net

Each side runs in a process of its own, in turns. Figures are medians of several rounds, and the
spread is the largest less the smallest round. A ratio above 1 means that this code is faster. Every
measurement is written to a JSON file.
"""

import importlib.util
from typing import Any

from absl import flags

from launch.benchmark import dense, layers, record, table, train, turns
from launch.benchmark.case import Case
from launch.benchmark.turns import Side
from vgg_jax.errors import UserError, require
from vgg_jax.nets import architectures
from vgg_jax.system import command_line
from vgg_jax.system.heavy_imports import heavy_imports

_NET = flags.DEFINE_enum("net", None, list(architectures.NETS), "The net. The default is D.")
_WIDTH = flags.DEFINE_float(
    "width", None, "Factor on the channels of every layer, for example 0.25. The default is 1.", 0
)
_CROP_PX = flags.DEFINE_integer(
    "crop_px", None, "Side of the training crop, in px. The default is 224.", 1
)
_BATCH = flags.DEFINE_integer(
    "batch", None, "Images per step. The default is 8 on a CPU and 256 on a GPU.", 1
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16"],
    "The dtype of the arithmetic. The default is float32 on a CPU and bfloat16 on a GPU.",
)
_PASS = flags.DEFINE_enum(
    "pass",
    None,
    ["step", "forward"],
    "What train measures: the whole step, which is the default, or the forward pass alone.",
)
_LAYERS = flags.DEFINE_boolean(
    "layers", None, "Whether train also measures each convolution and its gradients by themselves."
)
_SCALE = flags.DEFINE_integer(
    "scale", None, "The test scale Q of eval, in px. The default is 384.", 1
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "A folder of class folders with images, for example /data/imagenet/val. Without it, eval makes "
    "images of random pixels.",
)
_IMAGES = flags.DEFINE_integer(
    "images",
    None,
    "How many images eval measures, for example 100. The default is 16 on a CPU, 1024 on a GPU.",
    1,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder of the run that methods measures, for example runs/caltech."
)
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "The test scales Q of methods, in px, for example 256,384,512. The default is the run's own.",
)
_PEER = flags.DEFINE_enum(
    "peer",
    None,
    ["torch", "none"],
    "The other side: torch for PyTorch, which is the default, or none to measure this code alone.",
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", None, "How many times each side is measured. The default is 3.", 1
)
_LIMIT_S = flags.DEFINE_float(
    "limit_s", None, "The most seconds of one process of a side. The default is 1200.", 1.0
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The JSON file for all measurements, for example train.json. The default is a new file in the "
    "folder benchmarks/.",
)

_SIDES = (_PEER, _ROUNDS, _LIMIT_S, _OUT)
# The flags that each command reads.
_COMMANDS: dict[str, tuple[flags.FlagHolder, ...]] = {
    "train": (_NET, _WIDTH, _CROP_PX, _BATCH, _DTYPE, _PASS, _LAYERS, *_SIDES),
    "eval": (_NET, _WIDTH, _CROP_PX, _DTYPE, _SCALE, _DATA, _IMAGES, *_SIDES),
    "methods": (_WORKDIR, _SCALES, _IMAGES, _ROUNDS, _OUT),
}


def main(argv: list[str]) -> None:
    """Runs one command."""
    require(
        len(argv) == 2 and argv[1] in _COMMANDS,
        f"Give one command: python -m launch.benchmark {'|'.join(_COMMANDS)}. See --help.",
    )
    command = argv[1]
    every = {flag.name: flag for read in _COMMANDS.values() for flag in read}
    read = sorted(flag.name for flag in _COMMANDS[command])
    for name, flag in every.items():
        require(
            flag.value is None or name in read,
            f"--{name} is not for {command}. Leave it out. {command} reads --{', --'.join(read)}.",
        )
    out = _OUT.value or record.default_out(command)
    record.check_out(out)
    with turns.compiled_once():
        measured = {"train": _train, "eval": _eval, "methods": _methods}[command]()
    record.write(out, measured)


def _train() -> dict[str, Any]:
    part = _PASS.value or "step"
    require(part == "step" or not _LAYERS.value, "--layers needs --pass=step. Leave one out.")
    rates, case = _rates_and_case()
    measured = train.measure(case, part, rates, **_sides())
    if _LAYERS.value:
        step_s = {
            name: table.median_of_rounds(rounds)[0] for name, rounds in measured["results"].items()
        }
        measured["layers"] = layers.measure(case, rates, step_s, **_sides())
    return measured


def _eval() -> dict[str, Any]:
    rates, case = _rates_and_case()
    return dense.measure(
        case, rates, scale=_SCALE.value or 384, data=_DATA.value, images=_IMAGES.value, **_sides()
    )


def _methods() -> dict[str, Any]:
    require(_WORKDIR.value is not None, f"--workdir is missing. {flags.FLAGS['workdir'].help}")
    with heavy_imports():  # The other commands start processes, and use no device in this one.
        from launch.benchmark import methods
    return methods.measure(
        _WORKDIR.value, scales=_SCALES.value, images=_IMAGES.value, rounds=_ROUNDS.value or 3
    )


def _rates_and_case() -> tuple[dict[str, Any], Case]:
    """Measures the device's rates, and returns them and the net with that device's defaults."""
    net, width, crop_px = _NET.value or "D", _WIDTH.value or 1.0, _CROP_PX.value or 224
    _refuse_net(net, width, crop_px)
    _refuse_peer_that_is_missing()
    rates = turns.once(Side("JAX", "jax_rates", {"dtype": _DTYPE.value or ""}), _limit_s())
    batch = _BATCH.value or (8 if rates["platform"] == "cpu" else 256)
    return rates, Case(net, rates["dtype"], batch, width, crop_px)


def _refuse_net(net: str, width: float, crop_px: int) -> None:
    try:
        architectures.layers(net, width=width, crop_px=crop_px)
    except ValueError as error:
        raise UserError(f"{error}") from error


def _refuse_peer_that_is_missing() -> None:
    require(
        _PEER.value == "none" or importlib.util.find_spec("torch") is not None,
        "PyTorch isn't installed. Install it (pip install torch), or measure this code alone with "
        "--peer=none.",
    )


def _sides() -> dict[str, Any]:
    peer = _PEER.value or "torch"
    return {"peer": peer, "rounds": _ROUNDS.value or 3, "limit_s": _limit_s()}


def _limit_s() -> float:
    return _LIMIT_S.value or 1200.0


if __name__ == "__main__":
    command_line.run(main)
