"""Which run starts from which, and the commands that make what is missing."""

import importlib
import pathlib
import shlex
from collections.abc import Sequence

from ml_collections import ConfigDict

import configs
from vgg_jax import config, files
from vgg_jax.errors import UserError
from vgg_jax.files import Path

# Of a workdir: where a checkpoint waits while the one that replaces it is written.
REPLACED = "checkpoint_before_validation"

# What Orbax writes last into a checkpoint in a bucket, which it can't rename.
COMMIT = "commit_success.txt"

MINI = "mini_"  # configs/mini.py:NAME is the run mini_NAME.


def load_config(name: str) -> tuple[str, ConfigDict] | None:
    """Finds the config of a run of this project by the run's name.

    Returns:
      What --config takes, and the config; None where no file in configs/ makes that run.
    """
    if name.startswith(MINI) and name.removeprefix(MINI) in configs.names():
        original = name.removeprefix(MINI)
        return f"configs/mini.py:{original}", _module("mini").get_config(original)
    if name in configs.names():
        return f"configs/{name}.py", _module(name).get_config()
    return None


def _module(name: str):  # noqa: ANN202  (a module)
    return importlib.import_module(f"configs.{name}")


def resolve(init_from: str, workdir: Path) -> Path | None:
    """Returns the workdir that `init_from` means, or None for "none".

    A name without a slash is a run beside this one; anything else is a path.
    """
    if init_from == "none":
        return None
    if "/" in init_from:
        return files.path(init_from)
    return workdir.parent / init_from


def last_step(workdir: Path) -> int | None:
    """Returns the step of the last complete checkpoint in a workdir; None where there is none."""
    folders = (workdir / "checkpoints", workdir / REPLACED)
    found = [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]
    return max((int(path.name) for path in found if is_complete(path)), default=None)


def is_complete(checkpoint: Path) -> bool:
    """Tells whether a checkpoint's folder, STEP, is there with all that belongs to it."""
    # On a disk Orbax writes into STEP.orbax-checkpoint-tmp and renames.
    return (checkpoint / COMMIT if files.in_bucket(checkpoint) else checkpoint).exists()


def has_checkpoint(workdir: Path) -> bool:
    """Tells whether a workdir holds a complete checkpoint."""
    return last_step(workdir) is not None


def check(c: ConfigDict, workdir: Path, overrides: Sequence[str]) -> None:
    """Checks that the run which this one starts from is there and fits.

    Args:
      c: This run's config.
      workdir: This run's workdir.
      overrides: The `--config.key=value` arguments given, which the printed commands repeat where
        the runs of a chain must agree: data, width, crop, classes.

    Raises:
      UserError: It isn't there, and the message has the chain of commands that makes it; or it
        was made for another net or another input.
    """
    source = resolve(c.init_from, workdir)
    if source is None:
        return
    if has_checkpoint(source):
        _refuse_misfit(c, config.load(source), source)
        if not (source / "result.json").exists():
            print(f"{source} hasn't finished; this run starts from its last checkpoint.")
        return
    commands = _commands(c.init_from, workdir.parent, overrides)
    made_by = (
        "These commands make it, in this order:\n" + "".join(f"    {line}\n" for line in commands)
        if commands
        else "No config of this project makes it; give the workdir of a finished run.\n"
    )
    raise UserError(
        f"This run starts from {source}, where there is no run. {made_by}"
        "Or train from the chosen initialisation with --config.init_from=none."
    )


def check_evaluated(c: ConfigDict, workdir: Path) -> None:
    """Checks that a workdir has a checkpoint of the net that a config describes.

    Raises:
      UserError: It has none, or one of another net.
    """
    saved = config.load(workdir)
    if saved is None or not has_checkpoint(workdir):
        raise UserError(
            f"There is no checkpoint in {workdir} to evaluate. The same command without "
            "--mode=eval trains the net; or choose another --workdir."
        )
    differing = _differing(c, saved, ("net", "width", "crop_px"))
    if differing:
        raise UserError(
            f"The checkpoint in {workdir} is of another net than this config's: {differing}. "
            "Choose the run's own --config (and its overrides), or another --workdir."
        )
    if c.data.held_out:
        keys = ("data.held_out", "seed", "data.name", "data.train_split")
        ours, theirs = config.flat(c), config.flat(saved)
        differing = [f"{key}={theirs.get(key)}" for key in keys if theirs.get(key) != ours[key]]
        if differing:
            raise UserError(
                "Images that this config holds out were trained on. The run had "
                f"{', '.join(differing)}: give the same, or --config.data.held_out=0."
            )


def _refuse_misfit(c: ConfigDict, other: ConfigDict, source: Path) -> None:
    keys = ["width", "crop_px", *(["net"] if c.init_layers != "preinit" else [])]
    differing = _differing(c, other, keys)
    if differing:
        only_net = differing.startswith("net ") and "," not in differing
        raise UserError(
            f"This run cannot start from {source}: {differing}. Make them agree"
            + (", or set --config.init_layers=preinit." if only_net else ".")
        )


def _differing(c: ConfigDict, other: ConfigDict, keys: Sequence[str]) -> str:
    ours, theirs = (
        {key: run[key] for key in keys} | {"input_scale": config.input_scale(run)}
        for run in (c, other)
    )
    return ", ".join(
        f"{key} is {theirs[key]} there and {ours[key]} here"
        for key in ours
        if ours[key] != theirs[key]
    )


def _commands(name: str, root: Path, overrides: Sequence[str]) -> list[str]:
    shared = (
        *("data.", "width=", "crop_px=", "num_classes=", "seed="),
        *("init=", "init_sigma=", "input_scale="),
    )
    repeated = [o for o in overrides if o.removeprefix("--config.").startswith(shared)]
    found = load_config(name)
    if found is None or (root / name / "result.json").exists():
        return []
    spec, c = found
    where = [] if root == pathlib.Path("runs") else [f"--workdir={root / name}"]
    command = shlex.join(["python", "-m", "vgg_jax.main", f"--config={spec}", *where, *repeated])
    return [*_commands(c.init_from, root, overrides), command]
