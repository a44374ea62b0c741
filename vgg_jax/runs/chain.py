"""Which run starts from which, and the commands that make the missing runs."""

import pathlib
import shlex
from collections.abc import Sequence

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError, require
from vgg_jax.nets import architectures, trained_layers
from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import config_files, run_config, run_result, saved_steps
from vgg_jax.storage import files
from vgg_jax.storage.files import Path


def resolve(init_from: str, workdir: Path) -> Path | None:
    """Returns the workdir that `init_from` means, or None for "none".

    A name without a slash is a run beside this one; anything else is a path.
    """
    if init_from == "none":
        return None
    if "/" in init_from:
        return files.path(init_from)
    return workdir.parent / init_from


# The keys in which the runs of a chain must agree. The paper's differ in others.
_SHARED = (
    *("data.name", "data.dir", "data.train_split", "data.val_split", "data.held_out"),
    *("data.mean_rgb", "data.undecodable", "data.num_workers", "data.decode_bytes"),
    "data.cache_dir",
    *("num_classes", "width", "crop_px", "seed", "init", "init_sigma", "input_scale"),
)

_HELD_OUT = ("data.held_out", "seed")  # They decide which images are held out.

_USE_THE_RUNS_OWN = (
    "Leave out these keys, and --config if it is given, to use the run's own, or choose another "
    "--workdir."
)


def check(c: ConfigDict, workdir: Path, folder: pathlib.Path = config_files.FOLDER) -> None:
    """Checks that the run from which this one starts exists and fits.

    Args:
      c: This run's config.
      workdir: This run's workdir.
      folder: The folder of the chain's config files.

    Raises:
      UserError: That run doesn't exist, and the message lists the commands that make it; or it has
        another net or another input; or it was trained on images that this run holds out.
    """
    source = resolve(c.init_from, workdir)
    if source is None:
        return
    if saved_steps.has_checkpoint(source):
        saved = run_config.existing(source)
        _refuse_misfit(c, saved, source)
        _refuse_seen(c, saved, source)
        return
    commands = _commands(c, c.init_from, workdir.parent, folder)
    made_by = (
        "These commands make it, in this order:\n" + "".join(f"    {line}\n" for line in commands)
        if commands
        else "No config of this project makes it; give the workdir of a finished run.\n"
    )
    raise UserError(
        f"This run starts from {source}, where there is no run.{files.similar(source)} {made_by}"
        "Or train from the chosen initialisation with --config.init_from=none."
    )


def unfinished_source(c: ConfigDict, workdir: Path) -> str | None:
    """Returns what to say if a run starts from one that hasn't finished; otherwise None.

    Args:
      c: A config that `check` has passed.
      workdir: This run's workdir.
    """
    source = resolve(c.init_from, workdir)
    if source is None or run_result.path(source).exists():
        return None
    return f"{source} hasn't finished; this run starts from its last checkpoint."


def check_evaluated(c: ConfigDict, workdir: Path) -> None:
    """Checks that a workdir has a checkpoint of the run that a config describes.

    The config may name other images than the run's, but it may not hold out images that the run
    was trained on.

    Raises:
      UserError: There is no checkpoint, it is of another run, or the run was trained on images that
        the config holds out.
    """
    if not saved_steps.has_checkpoint(workdir):
        raise UserError(
            f"There is no checkpoint in {workdir} to evaluate. The same command without "
            "--mode=eval trains the net; or choose another --workdir."
        )
    saved = run_config.existing(workdir)
    differing = _differing(c, saved, net_settings.ARCHITECTURE_KEYS)
    if differing:
        raise UserError(
            f"The checkpoint in {workdir} is of another net than this config's: {differing}. "
            f"{_USE_THE_RUNS_OWN}"
        )
    differing = run_config.differences(c, workdir, may_differ=run_config.IMAGES)
    if differing:
        raise UserError(
            f"The run in {workdir} is not this config's:\n{differing}{_USE_THE_RUNS_OWN}"
            + (
                " The batches of an evaluation have --config.eval.batch_px instead."
                if "batch_size: " in differing
                else ""
            )
        )
    if c.data.held_out:
        keys = ("data.held_out", "data.name", "data.train_split")
        ours, theirs = run_config.flat(c), run_config.flat(saved)
        differing = [f"{key}={theirs.get(key)}" for key in keys if theirs.get(key) != ours[key]]
        if differing:
            raise UserError(
                "The run was trained on images that this config holds out. It had "
                f"{', '.join(differing)}. Give the same values, or --config.data.held_out=0."
            )


def _refuse_misfit(c: ConfigDict, other: ConfigDict, source: Path) -> None:
    may_differ = ["net"] if c.init_layers == "preinit" else []
    if run_result.lacks_fc_layers(source):
        require(
            c.init_layers == "all_but_fc8",
            f"This run cannot start with init_layers={c.init_layers} from {source}, which was "
            "imported without FC layers. Draw new ones: --config.init_layers=all_but_fc8.",
        )
        require(
            all(trained_layers.is_trained(layer, c.trained_layers) for layer in ("fc6", "fc7")),
            f"trained_layers={c.trained_layers} would leave FC6 or FC7 at random weights: {source} "
            "was imported without FC layers. Add fc to --config.trained_layers.",
        )
        may_differ.append("crop_px")  # FC6 alone depends on it.
    keys = [key for key in net_settings.ARCHITECTURE_KEYS if key not in may_differ]
    differing = _differing(c, other, keys)
    if differing:
        only_net = differing.startswith("net ") and "," not in differing
        theirs = [f"--config.{key}={other[key]}" for key in keys if f"{key} is " in differing]
        raise UserError(
            f"This run cannot start from {source}: {differing}. Set {' '.join(theirs)}, or choose "
            "a config that has these values"
            + (
                ", or set --config.init_layers=preinit if the classes are the same."
                if only_net
                else "."
            )
        )


def _refuse_seen(c: ConfigDict, other: ConfigDict, source: Path) -> None:
    """Refuses to hold out images that the other run, of the same images, was trained on."""
    if not c.data.held_out or run_result.is_of_import(source):
        return
    ours, theirs = map(data_settings.evaluated_data, (c, other))
    is_same = all(ours[key] == theirs[key] for key in ("name", "dir", "train_split"))
    ours, theirs = map(run_config.flat, (c, other))
    held_out = [f"{key}={theirs[key]}" for key in _HELD_OUT if theirs[key] != ours[key]]
    if is_same and held_out:
        raise UserError(
            f"The run in {source} was trained on images that this run holds out: it had "
            f"{', '.join(held_out)}. Give the same values, or validate on other images: "
            "--config.data.held_out=0."
        )


def _differing(c: ConfigDict, other: ConfigDict, keys: Sequence[str]) -> str:
    ours, theirs = ({key: run[key] for key in keys} for run in (c, other))
    if c.input_scale or c.init_from == "none":  # Otherwise it is that of the run in init_from.
        ours["input_scale"], theirs["input_scale"] = map(net_settings.input_scale, (c, other))
    return ", ".join(
        f"{key} is {theirs[key]} there and {ours[key]} here"
        for key in ours
        if ours[key] != theirs[key]
        and not (key == "width" and architectures.same_width(other.net, c.width, other.width))
    )


def _commands(c: ConfigDict, name: str, root: Path, folder: pathlib.Path) -> list[str]:
    """Returns the commands that make a run, with the values of `c` in the shared keys."""
    found = config_files.of_run(name, folder)
    if found is None or run_result.path(root / name).exists():
        return []
    spec, plain = found
    where = [] if root == pathlib.Path("runs") else [f"--workdir={root / name}"]
    command = ["python", "-m", "vgg_jax.main", f"--config={spec}", *where]
    overrides = run_config.overrides(c, plain, _SHARED)
    return [*_commands(c, plain.init_from, root, folder), shlex.join([*command, *overrides])]
