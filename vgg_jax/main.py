"""Trains a net: `python -m vgg_jax.main --config=configs/e_multiscale.py [--workdir=DIR]`.

The same command on the same workdir goes on where it stopped. JAX is imported only once the
config has passed its checks; the worker processes, which import this module anew, touch no device.
"""

import errno
import json
import os
import pathlib
import signal
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from vgg_jax import chain, config, scan, sources, stopping
from vgg_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A file of configs/. --config.KEY=VALUE overrides its keys."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run keeps everything. Default: runs/<the config's name>."
)


def main(argv: list[str]) -> None:
    """Trains, or says what the finished run gave."""
    if len(argv) > 1:
        raise UserError(f"Unknown arguments: {' '.join(argv[1:])}.")
    # Orbax and TFDS log routine facts to stderr, over the progress bar.
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.FATAL)
    c = _CONFIG.value
    workdir = pathlib.Path(_WORKDIR.value or f"runs/{c.name}").expanduser()
    config.validate(c)
    _refuse_unusable(workdir)
    result_file = workdir / "result.json"
    resumes = chain.has_checkpoint(workdir)
    if resumes or result_file.exists():  # What ended before its first checkpoint may be replaced.
        config.refuse_other_run(c, workdir)
    if result_file.exists():
        print("This run is finished.")
        _print_result(c.name, workdir, json.loads(result_file.read_text()))
        return
    if not resumes:
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        chain.check(c, workdir, [f"--config.{key}={value}" for key, value in overrides.items()])
    train_source, val_source = sources.open_sources(
        c.data.name,
        c.data.dir,
        train_split=c.data.train_split,
        val_split=c.data.val_split,
        cache_dir=c.data.cache_dir,
        held_out=c.data.held_out,
        seed=c.seed,
    )
    config.resolve_num_classes(c.num_classes, train_source.class_names)
    data = scan.check(
        train_source,
        val_source,
        undecodable=c.data.undecodable,
        cache_dir=c.data.cache_dir,
        num_workers=c.data.num_workers,
    )

    if c.deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    from vgg_jax import train

    mean_rgb = tuple(c.data.mean_rgb) or data.mean_rgb
    result = train.train(c, workdir, data.train_source, data.val_source, mean_rgb)
    if result:
        _print_result(c.name, workdir, result)


def _refuse_unusable(workdir: pathlib.Path) -> None:
    existing = workdir.absolute()
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise UserError(
            f"--workdir={workdir} cannot be made: {existing} is not a folder that may be written "
            "to. Choose another."
        )


def _print_result(name: str, workdir: pathlib.Path, result: dict[str, Any]) -> None:
    last, best = result["last"], result["best"]
    print(
        f"\n{name}: top-1 error {last['top1_error']:.2f}%, top-5 error {last['top5_error']:.2f}% "
        f"on {last['num_images']:,} validation images (centre crop) after {last['epoch']} epochs\n"
        f"  checkpoint  {workdir / 'checkpoints' / str(last['step'])}\n"
        f"  best        {workdir / 'checkpoints' / str(best['step'])}  "
        f"(top-1 error {best['top1_error']:.2f}%)\n"
        f"  curves      {workdir / 'curves.png'}\n"
        "\nNext:\n"
        f"  pip install tensorboard && tensorboard --logdir={workdir.parent}\n"
        "  python -m vgg_jax.describe --net=all\n"
        "  python -m vgg_jax.main --config=configs/mini.py:a_256   # any run of Table 3, shrunk\n"
        "  python -m vgg_jax.main --config=configs/mini.py:a_256 --workdir=runs/mine \\\n"
        "      --config.data.name=folder --config.data.dir=FOLDER  # your images, train/ and val/\n"
        "  python -m vgg_jax.main --config=configs/a_256.py        # the paper's, on ImageNet"
    )


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = app.parse_flags_with_usage(argv)
        _CONFIG.value.lock()  # A file that couldn't be loaded raises only when it is looked at.
        return rest
    except AttributeError as error:  # ml_collections' for an override of no key.
        first: BaseException = error
        while first.__context__ is not None:  # ml_collections wraps the one that names the key.
            first = first.__context__
        what = str(first.args[0]).replace("\n", ". ")
        raise UserError(
            f"The config has no key {what}. configs/base.py names every key."
        ) from error
    except (OSError, ImportError) as error:
        raise UserError(f"--config names no config: {error}") from error


def run() -> None:
    """Runs `main` with the flags; prints a UserError's message alone and exits with status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags.mark_flag_as_required("config")
    for number in stopping.EXIT_STATUS:
        signal.signal(number, stopping.stop_at_once)
    try:
        app.run(main, flags_parser=_parse_flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(
            f"error: {error}. Make room; the same command then goes on from the last checkpoint.",
            file=sys.stderr,
        )
        sys.exit(2)
    except stopping.StoppedError as stopped:
        print(f"\n{stopped}", file=sys.stderr, flush=True)
        sys.exit(stopping.EXIT_STATUS[stopped.signal])


if __name__ == "__main__":
    run()
