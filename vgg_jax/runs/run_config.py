"""The config that a workdir holds, and when two configs are the same run. Needs no device."""

import json
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from vgg_jax import base_config
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

# What may change between a run and its resumption: it doesn't change the result, or, as the number
# of devices does, its rounding alone. The data may have moved; the fingerprint of its index says
# whether it is the same.
HOUSEKEEPING = (
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

# What names the images, and may differ where other images are evaluated than were trained on.
IMAGES = ("data.name", "data.train_split", "data.val_split", "data.held_out")

# What may differ between the processes of one job.
OF_A_HOST = ("data.dir", "data.cache_dir", "data.num_workers")


def load(workdir: Path) -> ConfigDict | None:
    """Reads the config of the run in a workdir; None where there is none.

    Keys that the run was saved without, since they came later, have today's defaults: see
    `base_config`. Values have the defaults' types, so that overrides are read as in a config file.

    Raises:
      UserError: The file is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        return None
    c = base_config.get_config()
    try:
        with c.unlocked():
            _fill(c, json.loads(path.read_text()))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not the config of a run ({type(error).__name__}: {error}). Bring back what "
            "it was, or choose another workdir."
        ) from error
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
        else:  # JSON has a float that is whole as it was written: 1 for an override of 1.
            c[key] = float(value) if isinstance(default, float) else value


def save(c: ConfigDict, workdir: Path) -> None:
    """Writes the config into a workdir, with the data's folder as any other folder sees it."""
    workdir.mkdir(parents=True, exist_ok=True)
    values = c.to_dict()
    if values["data"]["dir"]:
        values["data"]["dir"] = str(files.absolute(files.path(values["data"]["dir"])))
    files.write_text(workdir / "config.json", json.dumps(values, indent=2) + "\n")


def refuse_other_run(c: ConfigDict, workdir: Path) -> None:
    """Checks that the workdir is empty or holds this very run.

    Raises:
      UserError: It holds a run whose result would differ; the message lists the keys.
    """
    differing = differences(c, workdir)
    if differing:
        raise UserError(
            f"{workdir} holds another run:\n{differing}"
            f"--workdir={workdir} alone goes on with it. Otherwise choose another --workdir, or "
            "remove that one."
        )


def differences(c: ConfigDict, workdir: Path, may_differ: Sequence[str] = ()) -> str:
    """Lists, a line each, the keys in which the run in a workdir would have another result.

    Args:
      c: A config.
      workdir: The run's; where it holds none, nothing differs.
      may_differ: Keys that don't count, besides those of the evaluation and `HOUSEKEEPING`.
    """
    saved = load(workdir)
    if saved is None:
        return ""
    ours, theirs = flat(c), flat(saved)
    return "".join(
        f"    {key}: {theirs.get(key, 'absent')} there, {ours.get(key, 'absent')} now\n"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
        and not key.startswith("eval.")
        and key not in (*HOUSEKEEPING, *may_differ)
    )


def shared(c: ConfigDict) -> dict[str, Any]:
    """Returns what must be the same on all processes of one job, by whole keys."""
    return {key: value for key, value in flat(c).items() if key not in OF_A_HOST}


def overrides(c: ConfigDict, plain: ConfigDict, keys: Sequence[str]) -> list[str]:
    """Returns the arguments that give a plain config the values of `c` of some keys."""
    ours, theirs, arguments = flat(c), flat(plain), []
    for key in keys:
        value = ours[key]
        if value != theirs[key]:
            shown = (",".join(map(str, value)) or "()") if isinstance(value, list) else value
            arguments.append(f"--config.{key}={shown}")
    return arguments


def flat(c: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Returns the values by their whole keys, such as "data.dir", as JSON has them."""
    result = {}
    for key, value in json.loads(json.dumps(c.to_dict())).items():
        nested = isinstance(value, dict)
        result |= flat(ConfigDict(value), f"{prefix}{key}.") if nested else {prefix + key: value}
    return result
