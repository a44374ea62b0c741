"""Measures this code beside what a user would pick instead, and prints a table and a ratio.

    python -m launch.benchmark train --net=D       # training steps, beside PyTorch's
    python -m launch.benchmark eval --net=D --scale=384    # dense evaluation, beside PyTorch's
    python -m launch.benchmark input --data=FOLDER # random crops, beside Pillow's
    python -m launch.benchmark input --data_name=imagenet --data=DIR --data=DIR    # of two forms
    python -m launch.benchmark scan --data=FOLDER  # the scan, beside an epoch's reading
    python -m launch.benchmark loop --data=FOLDER  # an epoch, beside its steps and its input
    python -m launch.benchmark start --net=D       # from the command to the first step
    python -m launch.benchmark methods --workdir=runs/caltech    # the methods of one trained net

Each side runs in a process of its own, in turns. Figures are medians of several rounds, and the
spread is the largest less the smallest round. A ratio above 1 means that this code is faster. Every
measurement is written to a JSON file.
"""

import importlib.util
import itertools
from typing import Any

from absl import flags

from launch.benchmark import (
    crop_input,
    dense,
    layers,
    loop,
    record,
    scanning,
    start,
    train,
    turns,
)
from launch.benchmark.case import Case
from launch.benchmark.turns import Side
from vgg_jax.data import workers
from vgg_jax.data.pooled import open_images
from vgg_jax.errors import UserError, require
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.nets import architectures
from vgg_jax.system import command_line
from vgg_jax.system.heavy_imports import heavy_imports

_PAPERS_CROP_PX = 224

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
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "For input, scan and loop the smallest and the largest S, in px; the default is 256,512 for a "
    "crop of 224 px. For methods the test scales Q; the default is the run's own.",
)
_DATA = flags.DEFINE_multi_string(
    "data",
    None,
    "A folder of class folders with images, for example /data/imagenet/val. Without it, eval makes "
    "images of random pixels, and loop takes the embedded data set and a miniature of net A. input "
    "compares several if it is given several times.",
)
_DATA_NAME = flags.DEFINE_string(
    "data_name",
    None,
    "The data.name of a config, for example imagenet; --data is then its data.dir, and input and "
    "scan read its training split.",
)
_IMAGES = flags.DEFINE_integer(
    "images",
    None,
    "How many images eval, scan, loop and methods take, for example 100. The default of eval is 16 "
    "on a CPU and 1024 on a GPU, that of the others all images. scan and loop repeat them.",
    1,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Worker processes that decode. The default is 1 for input, one per core for scan, which also "
    "measures fewer, and for the others that of a long run.",
    1,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder of the run that methods measures, for example runs/caltech."
)
_PEER = flags.DEFINE_enum(
    "peer",
    None,
    ["torch", "pillow", "none"],
    "The other side: torch for PyTorch, beside which train and eval are measured; pillow, beside "
    "which input is for one folder; or none to measure this code alone.",
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

_NET_FLAGS = (_NET, _WIDTH, _CROP_PX, _DTYPE)
_ALWAYS = (_ROUNDS, _LIMIT_S, _OUT)
# The flags that each command reads.
_COMMANDS: dict[str, tuple[flags.FlagHolder, ...]] = {
    "train": (*_NET_FLAGS, _BATCH, _PASS, _LAYERS, _PEER, *_ALWAYS),
    "eval": (*_NET_FLAGS, _SCALE, _DATA, _IMAGES, _PEER, *_ALWAYS),
    "input": (_DATA, _DATA_NAME, _SCALES, _CROP_PX, _WORKERS, _PEER, *_ALWAYS),
    "scan": (_DATA, _DATA_NAME, _IMAGES, _SCALES, _CROP_PX, _WORKERS, *_ALWAYS),
    "loop": (*_NET_FLAGS, _BATCH, _DATA, _IMAGES, _SCALES, _WORKERS, *_ALWAYS),
    "start": (*_NET_FLAGS, _BATCH, _WORKERS, *_ALWAYS),
    "methods": (_WORKDIR, _SCALES, _IMAGES, _ROUNDS, _OUT),
}


def main(argv: list[str]) -> None:
    """Runs one command, and writes its measurements."""
    require(
        len(argv) == 2 and argv[1] in _COMMANDS,
        f"Give one command: python -m launch.benchmark {'|'.join(_COMMANDS)}. See --help.",
    )
    command = argv[1]
    read = sorted(flag.name for flag in _COMMANDS[command])
    for flag in itertools.chain(*_COMMANDS.values()):
        require(
            flag.value is None or flag.name in read,
            f"--{flag.name} is not for {command}, which reads --{', --'.join(read)}.",
        )
    out = _OUT.value or record.default_out(command)
    record.check_out(out)
    measure = {
        "train": _train,
        "eval": _eval,
        "input": _input,
        "scan": _scan,
        "loop": _loop,
        "start": _start,
        "methods": _methods,
    }[command]
    record.write(out, measure())


def _train() -> dict[str, Any]:
    part = _PASS.value or "step"
    require(part == "step" or not _LAYERS.value, "--layers needs --pass=step. Leave one out.")
    peer = _peer("torch")
    rates, case = _rates_and_case()
    with turns.compiled_once():
        measured = train.measure(case, part, rates, peer=peer, **_turns())
    if _LAYERS.value:
        measured["layers"] = layers.measure(case, rates, measured["step_s"], peer=peer, **_turns())
    return measured


def _eval() -> dict[str, Any]:
    peer, scale = _peer("torch"), _SCALE.value or 384
    evaluation_settings.check_scales([scale], _CROP_PX.value or _PAPERS_CROP_PX)
    data = _one_data()
    if data is not None:
        open_images(data)
    rates, case = _rates_and_case()
    images = {"scale": scale, "data": data, "images": _IMAGES.value}
    with turns.compiled_once():
        return dense.measure(case, rates, peer=peer, **images, **_turns())


def _input() -> dict[str, Any]:
    require(_DATA.value is not None, "--data is missing. Give a folder of class folders.")
    require(len({*_DATA.value}) == len(_DATA.value), "--data names the same images twice.")
    is_one_folder = len(_DATA.value) == 1 and _DATA_NAME.value is None
    crop_px = _CROP_PX.value or _PAPERS_CROP_PX
    return crop_input.measure(
        _DATA.value,
        _DATA_NAME.value,
        train_scale=_train_scale(crop_px),
        crop_px=crop_px,
        workers=_WORKERS.value or 1,
        peer=_peer("pillow" if is_one_folder else "none"),
        **_turns(),
    )


def _scan() -> dict[str, Any]:
    data = _one_data()
    require(data is not None, "--data is missing. Give a folder of class folders.")
    crop_px = _CROP_PX.value or _PAPERS_CROP_PX
    return scanning.measure(
        data,
        _DATA_NAME.value,
        images=_IMAGES.value,
        train_scale=_train_scale(crop_px),
        crop_px=crop_px,
        most_workers=_WORKERS.value or workers.available_cores(),
        **_turns(),
    )


def _loop() -> dict[str, Any]:
    data = _one_data()
    if data is None:  # The embedded data set is for miniatures.
        for flag, value in ((_NET, "A"), (_WIDTH, 0.25), (_CROP_PX, 64), (_BATCH, 32)):
            flags.FLAGS[flag.name].value = value if flag.value is None else flag.value
    else:
        open_images(data)
    train_scale = _train_scale(_CROP_PX.value or _PAPERS_CROP_PX)
    rates, case = _rates_and_case()
    with turns.compiled_once():
        return loop.measure(
            case,
            rates,
            data=data,
            images=_IMAGES.value,
            train_scale=train_scale,
            workers=_num_workers(),
            **_turns(),
        )


def _start() -> dict[str, Any]:
    rates, case = _rates_and_case()
    return start.measure(case, rates, workers=_num_workers(), **_turns())


def _num_workers() -> int:
    """Returns --workers, or what a long run would take: 0 for threads."""
    return _WORKERS.value or workers.of_long_work()


def _methods() -> dict[str, Any]:
    require(_WORKDIR.value is not None, "--workdir is missing. Give the folder of a run.")
    with heavy_imports():  # The other commands use no device in this process.
        from launch.benchmark import methods

    return methods.measure(
        _WORKDIR.value, scales=_SCALES.value, images=_IMAGES.value, rounds=_ROUNDS.value or 3
    )


def _rates_and_case() -> tuple[dict[str, Any], Case]:
    """Measures the device's rates, and returns them and the net with that device's defaults."""
    net, width = _NET.value or "D", 1.0 if _WIDTH.value is None else _WIDTH.value
    crop_px = _CROP_PX.value or _PAPERS_CROP_PX
    try:
        architectures.layers(net, width=width, crop_px=crop_px)
    except ValueError as error:
        raise UserError(str(error)) from error
    rates = turns.once(Side("JAX", "jax_rates", {"dtype": _DTYPE.value or ""}), _limit_s())
    batch = _BATCH.value or (8 if rates["platform"] == "cpu" else 256)
    return rates, Case(net, rates["dtype"], batch, width, crop_px)


def _one_data() -> str | None:
    """Returns --data, which is given at most once."""
    data = _DATA.value or [None]
    require(len(data) == 1, f"--data is given {len(data)} times, which is for input alone.")
    return data[0]


def _peer(name: str) -> str:
    """Returns --peer, which is this one or none, and is installed."""
    peer = _PEER.value or name
    takes = ", ".join(dict.fromkeys((name, "none")))
    require(peer in (name, "none"), f"--peer={peer} is not for this command. It takes {takes}.")
    require(
        peer != "torch" or importlib.util.find_spec("torch") is not None,
        "PyTorch isn't installed. Install it (pip install torch), or measure this code alone with "
        "--peer=none.",
    )
    return peer


def _train_scale(crop_px: int) -> tuple[int, int]:
    given = evaluation_settings.parse_scales(_SCALES.value)
    low, *more = given or (round(scale * crop_px / _PAPERS_CROP_PX) for scale in (256, 512))
    require(len(more) < 2, "--scales takes the smallest and the largest S: --scales=256,512.")
    high = more[0] if more else low
    require(
        crop_px <= low <= high,
        f"--scales={low},{high} must be at least the crop, {crop_px} px, the smallest first.",
    )
    return low, high


def _turns() -> dict[str, Any]:
    return {"rounds": _ROUNDS.value or 3, "limit_s": _limit_s()}


def _limit_s() -> float:
    return _LIMIT_S.value or 1200.0


if __name__ == "__main__":
    command_line.run(main)
