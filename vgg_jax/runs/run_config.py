"""The config in a workdir, and whether two configs are the same run. No device is needed."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from vgg_jax import base_config
from vgg_jax.data.settings import AUTO_MEAN, ILSVRC_MEAN_RGB
from vgg_jax.data.specs import canonical_name
from vgg_jax.errors import UserError, some_of
from vgg_jax.runs import saved_steps
from vgg_jax.storage import files, sealed_json
from vgg_jax.storage.files import Path

# The keys that may change when a run is resumed. They don't change the result or, like the number
# of devices, change only its rounding. The data may have moved; the fingerprint of its index says
# whether it is the same.
HOUSEKEEPING = (
    "name",
    "data.dir",
    "data.undecodable",
    "data.num_workers",
    "data.decode_bytes",
    "data.cache_dir",
    "model_parallel",
    "micro_batches",
    "remat",
    "log_every_steps",
    "checkpoint_every_steps",
)

# The keys that name the images. They may differ if a run is evaluated on other images.
IMAGES = ("data.name", "data.train_split", "data.val_split", "data.held_out")

# The values of data.mean_rgb in configs that would say auto today.
_MEANS_BEFORE_AUTO = ([], [*ILSVRC_MEAN_RGB])

# The keys that may differ between the processes of one job.
OF_A_HOST = ("data.dir", "data.cache_dir", "data.num_workers", "data.decode_bytes")


def load(workdir: Path) -> ConfigDict | None:
    """Reads the config of the run in a workdir; returns None if there is no run.

    Keys that are newer than the saved config get today's defaults: see `base_config`. Values have
    the defaults' types, so that overrides are read as in a config file.

    Raises:
      UserError: The file is damaged, or missing beside checkpoints.
    """
    if not path(workdir).exists() and not saved_steps.has_checkpoint(workdir):
        return None
    remedy = "Restore it from a copy, or choose another workdir."
    if path(workdir).exists():
        remedy += ' If you have changed it by hand, remove its key "sealed".'
    return sealed_json.read(
        path(workdir), _parsed, f"Only it says how the run was trained. {remedy}"
    )


def path(workdir: Path) -> Path:
    """Returns the path of a workdir's config."""
    return workdir / "config.json"


def existing(workdir: Path) -> ConfigDict:
    """Reads the config of the run in a workdir: see `load`.

    Raises:
      UserError: There is no run in the workdir, or the file is damaged.
    """
    c = load(workdir)
    if c is None:
        raise UserError(no_run(workdir))
    return c


def no_run(
    workdir: Path, otherwise: str = "Give the workdir of a run.", *, what: str = "run"
) -> str:
    """Returns what to say of a path that is no run's workdir.

    Args:
      workdir: The path. If it lies in a run, as RUN/checkpoints/90 does, that is to be given.
      otherwise: What to do where it doesn't.
      what: What the path lacks.
    """
    around = _around_run(workdir)
    advice = f"It lies in the run {around}: give that." if around else otherwise
    return f"There is no {what} in {workdir}.{files.similar(workdir)} {advice}"


def _around_run(inside: Path) -> Path | None:
    # Whoever may read a folder of a bucket may not read what lies above it.
    if files.in_bucket(inside):
        return None
    above = itertools.islice(files.absolute(inside).parents, 2)
    return next((folder for folder in above if saved_steps.has_checkpoint(folder)), None)


def _parsed(values: dict[str, Any]) -> ConfigDict:
    sealed_json.require_types(values, {"net": str, "seed": int, "data": dict, "eval": dict})
    c = base_config.get_config()
    with c.unlocked():
        _fill(c, values)
    return c


def _fill(c: ConfigDict, saved: dict[str, Any]) -> None:
    for key, value in saved.items():
        default = c.get(key)
        if isinstance(value, dict):
            if key not in c:
                c[key] = ConfigDict()
            _fill(c[key], value)
        elif isinstance(value, list):
            c[key] = tuple(value)
        else:  # An override of a float by 1 is 1 in JSON, not 1.0.
            c[key] = float(value) if isinstance(default, float) else value


def save(c: ConfigDict, workdir: Path) -> None:
    """Writes the config into a workdir, with the absolute path of the data's folder."""
    workdir.mkdir(parents=True, exist_ok=True)
    values = c.to_dict()
    if values["data"]["dir"]:
        values["data"]["dir"] = str(files.absolute(files.path(values["data"]["dir"])))
    sealed_json.write(path(workdir), values)


def refuse_other_run(c: ConfigDict, workdir: Path, may_differ: Sequence[str] = ()) -> None:
    """Checks that the workdir holds no run, or this very run.

    Args:
      c: A config.
      workdir: The run's workdir.
      may_differ: See `differences`.

    Raises:
      UserError: It holds a run whose result would differ; the message lists the differing keys.
    """
    differing = differences(c, workdir, may_differ)
    if differing:
        raise UserError(
            f"{workdir} holds another run:\n{differing}"
            f"To go on with that run, give --workdir={workdir} alone. To train its net further "
            f"with other settings, add --workdir=NEW --config.init_from={workdir} "
            "--config.init_layers=all. Otherwise choose another --workdir, or remove that one."
        )


def differences(c: ConfigDict, workdir: Path, may_differ: Sequence[str] = ()) -> str:
    """Lists, one per line, the keys that would give the run in a workdir another result.

    Args:
      c: A config.
      workdir: The run's workdir. If there is no run in it, nothing differs.
      may_differ: Keys to ignore, in addition to those of the evaluation and `HOUSEKEEPING`.
    """
    saved = load(workdir)
    if saved is None:
        return ""
    ours, theirs = flat(c), flat(saved)
    return "".join(
        f"    {key}: {theirs.get(key, 'absent')} there, {ours.get(key, 'absent')} now\n"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
        and not _is_taken_over(key, ours, theirs)
        and not key.startswith("eval.")
        and key not in (*HOUSEKEEPING, *may_differ)
    )


def _is_taken_over(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Returns whether a run keeps its own value of a key, because the config leaves it open."""
    if key == "data.mean_rgb":
        return ours[key] == [*AUTO_MEAN] and theirs[key] in _MEANS_BEFORE_AUTO
    return key == "input_scale" and not ours[key] and ours["init_from"] != "none"


def shared(c: ConfigDict) -> dict[str, Any]:
    """Returns the values that must be the same on all processes of a job, by their full keys."""
    return {key: value for key, value in flat(c).items() if key not in OF_A_HOST}


def fixed(c: ConfigDict) -> dict[str, Any]:
    """Returns the values that a run keeps from its first step to its last, by their full keys.

    Each checkpoint repeats them. The mean RGB is among the run's facts.
    """
    return {
        key: value
        for key, value in flat(c).items()
        if not key.startswith("eval.") and key not in (*HOUSEKEEPING, "num_epochs", "data.mean_rgb")
    }


def refuse_other_than(saved: Mapping[str, Any], workdir: Path) -> None:
    """Checks that the config in a workdir is that of a checkpoint there.

    Args:
      saved: The `fixed` values that the checkpoint has; empty if an earlier version saved it.
      workdir: The run's workdir.

    Raises:
      UserError: Values differ; the message names their keys.
    """
    if not saved:
        return
    ours, saved = flat(existing(workdir)), _canonical(saved)
    differing = [
        f"{key} is {value!r} there and {ours[key]!r} in the config"
        for key, value in saved.items()
        if key in ours and ours[key] != value
    ]
    if differing:
        raise UserError(
            f"{path(workdir)} is not the config of the checkpoints beside it: {some_of(differing)}."
            " Restore it from a copy."
        )


def overrides(c: ConfigDict, plain: ConfigDict, keys: Sequence[str]) -> list[str]:
    """Returns the arguments that set some keys of a plain config to the values of `c`."""
    ours, theirs, arguments = flat(c), flat(plain), []
    for key in keys:
        value = ours[key]
        if value != theirs[key]:
            shown = (",".join(map(str, value)) or "()") if isinstance(value, list) else value
            arguments.append(f"--config.{key}={shown}")
    return arguments


def flat(c: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Returns the values as JSON has them, by their full keys, such as "data.dir".

    ImageNet has one name, whichever the config gives it.
    """
    result = {}
    for key, value in json.loads(json.dumps(c.to_dict())).items():
        nested = isinstance(value, dict)
        result |= flat(ConfigDict(value), f"{prefix}{key}.") if nested else {prefix + key: value}
    return _canonical(result)


def _canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    if "data.name" not in values:
        return {**values}
    return {**values, "data.name": canonical_name(values["data.name"])}
