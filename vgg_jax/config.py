"""What a valid config is, and when two configs are the same run. Needs no device and no data."""

import json
import math
import numbers
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from configs import base
from vgg_jax import architectures, files, sources
from vgg_jax.errors import UserError
from vgg_jax.files import Path

# What may change between a run and its resumption: it doesn't change the result, or, as the number
# of devices does, its rounding alone. The data may have moved; the fingerprint of its index says
# whether it is the same.
HOUSEKEEPING = (
    "eval.",
    "name",
    "data.dir",
    "data.undecodable",
    "data.num_workers",
    "data.cache_dir",
    "model_parallel",
    "micro_batches",
    "remat",
    "log_every_steps",
    "checkpoint_every_steps",
)

# What may differ between the processes of one job.
OF_A_HOST = ("data.dir", "data.cache_dir", "data.num_workers")

# The single methods whose posteriors a method averages (§3.2).
METHODS = {"dense": ("dense",), "multicrop": ("multicrop",), "both": ("dense", "multicrop")}

# Settings of an evaluation that aren't the standard ones, by value.
VARIANTS = {"best": "eval.checkpoint", "ceil": "eval.pooling", "bfloat16": "eval.dtype"}


def validate(c: ConfigDict) -> None:
    """Checks all that can be checked without data and devices.

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    try:
        architectures.layers(c.net, width=c.width, crop_px=c.crop_px)
    except ValueError as error:
        raise UserError(str(error)) from error
    _require_choice("dtype", c.dtype, ("bfloat16", "float32"))
    _require_choice("init", c.init, ("normal", "glorot", "he"))
    _require_choice("init_layers", c.init_layers, ("all", "all_but_fc8", "preinit"))
    _require_choice("trained_layers", c.trained_layers, ("all", "fc"))
    _require(0 <= c.seed < 2**32, f"seed={c.seed} must lie between 0 and 2^32 - 1.")
    _require(bool(c.init_from), "init_from is empty: name a run, or none.")
    _require(
        0 < c.learning_rate < math.inf, f"learning_rate={c.learning_rate} must be a number above 0."
    )
    for key in (
        "num_epochs",
        "batch_size",
        "model_parallel",
        "micro_batches",
        "log_every_steps",
        "checkpoint_every_steps",
    ):
        _require(c[key] >= 1, f"{key}={c[key]} must be at least 1.")
    _require(c.eval.batch_size >= 1, f"eval.batch_size={c.eval.batch_size} must be at least 1.")
    _require(0 <= c.dropout < 1, f"dropout={c.dropout} must lie in [0, 1).")
    _require(
        0 <= c.input_scale < math.inf,
        f"input_scale={c.input_scale} must be a number above 0, or 0 for what suits init.",
    )
    _require(c.init_sigma > 0, f"init_sigma={c.init_sigma} must be above 0.")
    _require(c.colour_shift >= 0, f"colour_shift={c.colour_shift} must be 0 or above.")
    _require(0 <= c.momentum < 1, f"momentum={c.momentum} must lie in [0, 1).")
    _require(c.l2_penalty >= 0, f"l2_penalty={c.l2_penalty} must be 0 or above.")
    _require(
        c.num_classes == 0 or c.num_classes >= 2,
        f"num_classes={c.num_classes} must be at least 2, or 0 for as many as the data set has.",
    )
    _require(
        "://" not in c.data.cache_dir,
        f"data.cache_dir={c.data.cache_dir} must be a folder on this machine's disk.",
    )
    _require_choice("data.undecodable", c.data.undecodable, ("refuse", "leave_out"))
    _require(c.data.num_workers >= 0, f"data.num_workers={c.data.num_workers} must be 0 or above.")
    _require(c.data.held_out >= 0, f"data.held_out={c.data.held_out} must be 0 or above.")
    _require(
        len(c.data.mean_rgb) in (0, 3)
        and all(isinstance(value, int | float) and 0 <= value <= 255 for value in c.data.mean_rgb),
        f"data.mean_rgb={c.data.mean_rgb} must be three numbers from 0 to 255, "
        "or () to compute it from the training set.",
    )
    _require(
        len(c.train_scale) == 2
        and all(isinstance(scale, int) for scale in c.train_scale)
        and c.train_scale[0] <= c.train_scale[1],
        f"train_scale={c.train_scale} must be a pair of whole numbers, smallest and largest S: "
        "--config.train_scale=256,512, or 256,256 for S = 256.",
    )
    _require(
        c.train_scale[0] >= c.crop_px,
        f"train_scale={c.train_scale} is below the crop of {c.crop_px} px (§3.1 needs S >= the "
        f"crop). Raise train_scale to {c.crop_px} or more, or lower crop_px.",
    )
    _require(
        c.val_scale >= c.crop_px,
        f"val_scale={c.val_scale} is below the crop of {c.crop_px} px. "
        f"Raise val_scale to {c.crop_px} or more, or lower crop_px.",
    )
    _require_choice("eval.method", c.eval.method, (*METHODS, "none"))
    _require_choice("eval.checkpoint", c.eval.checkpoint, ("last", "best"))
    _require_choice("eval.pooling", c.eval.pooling, ("floor", "ceil"))
    _require_choice("eval.dtype", c.eval.dtype, ("bfloat16", "float32"))
    for key in ("batch_px", "save_every_s"):
        _require(c.eval[key] >= 0, f"eval.{key}={c.eval[key]} must be 0 or above.")
    check_scales(test_scales(c), c.crop_px)
    plateau = c.plateau
    _require(plateau.patience_epochs >= 1, "plateau.patience_epochs must be at least 1.")
    _require(plateau.min_improvement >= 0, "plateau.min_improvement must be 0 or above.")
    _require(0 < plateau.factor < 1, f"plateau.factor={plateau.factor} must lie between 0 and 1.")
    _require(
        0 < plateau.last_rate <= c.learning_rate,
        f"plateau.last_rate={plateau.last_rate} must lie between 0 and "
        f"learning_rate={c.learning_rate}.",
    )


def test_scales(c: ConfigDict) -> tuple[int, ...]:
    """Returns Q: eval.scales, or val_scale where these are empty."""
    return tuple(c.eval.scales) or (c.val_scale,)


def split(c: ConfigDict) -> str:
    """Returns what the images are called that a config validates on and evaluates."""
    if c.data.held_out:
        return "held_out"
    return c.data.val_split or sources.default_val_split(c.data.name)


def variant(c: ConfigDict) -> str:
    """Returns what tells an evaluation's files from the standard ones: "", or "best-ceil"."""
    values = flat(c)
    return "-".join(value for value, key in VARIANTS.items() if values[key] == value)


def source_arguments(c: ConfigDict) -> dict[str, Any]:
    """Returns what `sources.open_sources` and `.open_val_source` are called with."""
    return {
        "name": c.data.name,
        "directory": c.data.dir,
        "train_split": c.data.train_split,
        "val_split": c.data.val_split,
        "cache_dir": c.data.cache_dir,
        "held_out": c.data.held_out,
        "seed": c.seed,
    }


def scan_arguments(c: ConfigDict) -> dict[str, Any]:
    """Returns what `scan.check` and `.check_one` are called with, but for the splits."""
    return {
        "undecodable": c.data.undecodable,
        "cache_dir": c.data.cache_dir,
        "num_workers": c.data.num_workers,
    }


def shared(c: ConfigDict) -> dict[str, Any]:
    """Returns what must be the same on all processes of one job, by whole keys."""
    return {key: value for key, value in flat(c).items() if key not in OF_A_HOST}


def check_scales(scales: Sequence[int], crop_px: int) -> None:
    """Checks test scales (§3.2).

    Raises:
      UserError: One is below the crop, no whole number of px, or given twice.
    """
    _require(
        all(isinstance(q, numbers.Integral) for q in scales) and len(set(scales)) == len(scales),
        f"eval.scales={tuple(scales)} must be whole numbers, each once: "
        "--config.eval.scales=256,384,512.",
    )
    below = [str(scale) for scale in scales if scale < crop_px]
    _require(
        not below,
        f"The test scale Q={', '.join(below)} is below the net's crop of {crop_px} px (§3.2). "
        f"Choose scales of {crop_px} or more.",
    )


def parse_scales(scales: Sequence[str] | None) -> tuple[int, ...]:
    """Returns a command's --scales as numbers; none where it isn't given.

    Raises:
      UserError: They are no whole numbers, or one is given twice.
    """
    parsed = [int(scale) if scale.isdecimal() else 0 for scale in scales or ()]
    if 0 in parsed or len(set(parsed)) < len(parsed):
        raise UserError("--scales takes whole numbers, each once: --scales=256,384,512.")
    return tuple(parsed)


def input_scale(c: ConfigDict) -> float:
    """Returns what the mean-subtracted input is multiplied by.

    An input_scale of 0 means 1 with "normal", the paper's initialisation, and with the others 1/70,
    about one over the pixels' standard deviation: these keep the variance from layer to layer, so
    that a net's scores would otherwise be as large as its pixels.
    """
    return c.input_scale or (1.0 if c.init == "normal" else 1 / 70)


def resolve_num_classes(num_classes: int, class_names: tuple[str, ...]) -> int:
    """Returns the number of classes, checked against the data set's.

    Raises:
      UserError: The config names another number than the data set has, or it has only one.
    """
    if len(class_names) < 2:
        raise UserError(
            f"The data set has one class alone, {class_names[0]}, and so nothing to tell apart. "
            "Give it two classes or more."
        )
    if num_classes not in (0, len(class_names)):
        raise UserError(
            f"num_classes={num_classes}, but the data set has {len(class_names)} classes. "
            f"Set --config.num_classes={len(class_names)}, or 0 for as many as the data set has, "
            "or choose the data set with --config.data.name and --config.data.dir."
        )
    return len(class_names)


def check_divides(c: ConfigDict, num_devices: int) -> None:
    """Checks that FC kernels and batches split evenly over the devices, and on each into parts.

    Raises:
      UserError: They don't; the message names the nearest batch that does.
    """
    net = architectures.layers(c.net, width=c.width, crop_px=c.crop_px)
    choices = architectures.model_parallel_choices(net, num_devices)
    _require(
        c.model_parallel in choices,
        f"model_parallel={c.model_parallel} must divide the number of devices, {num_devices}, and "
        "the outputs of FC6 and FC7. "
        f"Set --config.model_parallel to {' or '.join(map(str, choices))}.",
    )
    for key, value, micro_batches in (
        ("batch_size", c.batch_size, c.micro_batches),
        ("eval.batch_size", c.eval.batch_size, 1),
    ):
        parts = num_devices * micro_batches
        if value % parts:
            nearest = max(1, round(value / parts)) * parts
            each = f" with {micro_batches} micro-batches each" if micro_batches > 1 else ""
            raise UserError(
                f"{key}={value} doesn't divide over {num_devices} devices{each}. "
                f"Set --config.{key}={nearest}."
            )


def load(workdir: Path) -> ConfigDict | None:
    """Reads the config of the run in a workdir; None where there is none."""
    path = workdir / "config.json"
    return ConfigDict(json.loads(path.read_text())) if path.exists() else None


def load_complete(workdir: Path) -> ConfigDict | None:
    """Reads the config of the run in a workdir, with today's defaults for keys that came since."""
    saved = load(workdir)
    if saved is None:
        return None
    c = ConfigDict(base.get_config().to_dict(), type_safe=False)
    c.update(saved.to_dict())
    return c


def save(c: ConfigDict, workdir: Path) -> None:
    """Writes the config into a workdir."""
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_text(workdir / "config.json", json.dumps(c.to_dict(), indent=2) + "\n")


def refuse_other_run(c: ConfigDict, workdir: Path) -> None:
    """Checks that the workdir is empty or holds this very run.

    Raises:
      UserError: It holds a run whose result would differ; the message lists the keys.
    """
    differing = differences(c, workdir)
    if differing:
        raise UserError(
            f"{workdir} holds another run:\n{differing}"
            "Choose another --workdir, or remove that one."
        )


def differences(c: ConfigDict, workdir: Path) -> str:
    """Lists, a line each, the keys in which the run in a workdir would have another result."""
    saved = load(workdir)
    if saved is None:
        return ""
    ours, theirs = flat(c), flat(saved)
    return "".join(
        f"    {key}: {theirs.get(key, 'absent')} there, {ours.get(key, 'absent')} now\n"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key) and not key.startswith(HOUSEKEEPING)
    )


def flat(c: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Returns the values by their whole keys, such as "data.dir", as JSON has them."""
    result = {}
    for key, value in json.loads(json.dumps(c.to_dict())).items():
        nested = isinstance(value, dict)
        result |= flat(ConfigDict(value), f"{prefix}{key}.") if nested else {prefix + key: value}
    return result


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, f"{key}={value!r} must be one of {', '.join(choices)}.")
