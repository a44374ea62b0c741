"""Trains a net and evaluates it: `python -m vgg_jax.main --config=configs/e_multiscale.py`.

The same command on the same workdir goes on where it stopped. With --mode=eval it evaluates what is
there, as --config.eval says. JAX is imported only once the config has passed its checks; the worker
processes, which import this module anew, touch no device.
"""

import json
import os
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from vgg_jax import config
from vgg_jax.data import decodable
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.source import Source
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.errors import UserError
from vgg_jax.runs import chain, run_config, saved_steps
from vgg_jax.storage import files, gcs
from vgg_jax.storage.files import Path
from vgg_jax.system import command_line, config_flag, processes

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A file of configs/. --config.KEY=VALUE overrides its keys."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train and then evaluate, or evaluate a checkpoint alone."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the run keeps everything; gs://... too. Default: runs/<the config's name>.",
)


def main(argv: list[str]) -> None:
    """Trains and evaluates, or says what the finished run gave."""
    if len(argv) > 1:
        raise UserError(f"Unknown arguments: {' '.join(argv[1:])}.")
    c = _CONFIG.value
    workdir = files.path(_WORKDIR.value or f"runs/{c.name}")
    config.validate(c)
    _refuse_unusable(workdir)
    if c.deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if _MODE.value == "eval" and c.eval.method == "none":
        raise UserError("eval.method=none leaves nothing to do with --mode=eval.")
    with processes.joined():
        processes.refuse_different("mode and config", [_MODE.value, run_config.shared(c)])
        if _MODE.value == "eval":
            processes.from_first(lambda: chain.check_evaluated(c, workdir))
            _evaluate(c, workdir)
        else:
            _train(c, workdir)


def _train(c: ConfigDict, workdir: Path) -> None:
    result = processes.from_first(lambda: _finished(c, workdir))
    val = None
    if result is None:
        train_source, val_source = processes.first_then_others(
            lambda: open_sources(data_settings.data_spec(c))
        )
        data_settings.resolve_num_classes(c.num_classes, train_source.class_names)
        for split, source in (("training", train_source), ("validation", val_source)):
            processes.refuse_different(f"{split} images", source.fingerprint)
        data = decodable.training_splits(train_source, val_source, data_settings.scan_options(c))
        val = data.val

        from vgg_jax.system import compilation_cache
        from vgg_jax.training import train

        compilation_cache.keep(c.data.cache_dir)
        mean_rgb = tuple(c.data.mean_rgb) or data.mean_rgb
        result = train.train(c, workdir, data.train_source, val.source, mean_rgb)
    processes.from_first(lambda: _print_result(c.name, workdir, result))
    if c.eval.method != "none":
        _evaluate(c, workdir, val)
    processes.from_first(lambda: _print_next_steps(workdir))


def _finished(c: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """Returns the result of a run that is finished, having checked what can be of any other."""
    result_file = workdir / "result.json"
    resumes = saved_steps.has_checkpoint(workdir)
    if resumes or result_file.exists():  # What ended before its first checkpoint may be replaced.
        run_config.refuse_other_run(c, workdir)
    if result_file.exists():
        print("This run is finished.")
        return json.loads(result_file.read_text())
    if not resumes:
        overrides = config_flags.get_override_values(flags.FLAGS["config"])
        chain.check(c, workdir, [f"--config.{key}={value}" for key, value in overrides.items()])
    return None


def _evaluate(c: ConfigDict, workdir: Path, val: SizedImages | None = None) -> None:
    """Evaluates the checkpoint that the config names; opens the images where they aren't given."""
    source = val.source if val else _val_source(c)

    from vgg_jax.evaluation import evaluate

    net = evaluate.load_net(c, workdir, source)
    val = val or decodable.one_split(
        source, data_settings.evaluated_split(c), data_settings.scan_options(c)
    )
    for line in evaluate.evaluate(c, workdir, net, val):
        print(line)


def _val_source(c: ConfigDict) -> Source:
    source = processes.first_then_others(lambda: open_val_source(data_settings.data_spec(c)))
    processes.refuse_different("images", source.fingerprint)
    return source


def _refuse_unusable(workdir: Path) -> None:
    if files.in_bucket(workdir):
        gcs.refuse_unwritable(workdir)
        return
    existing = workdir.absolute()
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise UserError(
            f"--workdir={workdir} cannot be made: {existing} is not a folder that may be written "
            "to. Choose another."
        )


def _print_result(name: str, workdir: Path, result: dict[str, Any]) -> None:
    last, best = result["last"], result["best"]
    print(
        f"\n{name}: top-1 error {last['top1_error']:.2f}%, top-5 error {last['top5_error']:.2f}% "
        f"on {last['num_images']:,} validation images (centre crop) after {last['epoch']} epochs\n"
        f"  checkpoint  {workdir / 'checkpoints' / str(last['step'])}\n"
        f"  best        {workdir / 'checkpoints' / str(best['step'])}  "
        f"(top-1 error {best['top1_error']:.2f}%)\n"
        f"  curves      {workdir / 'curves.png'}\n",
        flush=True,
    )


def _print_next_steps(workdir: Path) -> None:
    print(
        "\nNext:\n"
        f"  python -m vgg_jax.predict PHOTO.jpg --workdir={workdir} --map=where.png\n"
        f"  pip install tensorboard && tensorboard --logdir={workdir.parent}\n"
        "  python -m vgg_jax.describe --net=all\n"
        "  python -m vgg_jax.main --config=configs/mini.py:a_256   # any run of Table 3, shrunk\n"
        "  python -m vgg_jax.main --config=configs/mini.py:a_256 --workdir=runs/mine \\\n"
        "      --config.data.name=folder --config.data.dir=FOLDER  # your images, train/ and val/\n"
        "  python -m vgg_jax.main --config=configs/a_256.py        # the paper's, on ImageNet"
    )


def _parse_flags(argv: list[str]) -> list[str]:
    with config_flag.clear_config_errors():
        rest = app.parse_flags_with_usage(argv)
        _CONFIG.value.lock()  # A file that couldn't be loaded raises only when it is looked at.
    return rest


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    command_line.run(main, _parse_flags)
