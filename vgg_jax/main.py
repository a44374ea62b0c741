"""Trains a net and evaluates it: `python -m vgg_jax.main --config=configs/e_multiscale.py`.

The same command with the same workdir continues where it stopped, and so does --workdir=DIR alone.
With --mode=eval it evaluates a checkpoint of the run, as --config.eval says.
"""

# JAX is imported only after the config has passed its checks, unless it names a user's own module
# that imports JAX. Worker processes import this module too, and must not touch a device.

import itertools
import os
import re
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from vgg_jax import config, next_steps, not_learned, safe_text
from vgg_jax.counted import counted
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import topk
from vgg_jax.nets.label_rank import has_top5
from vgg_jax.runs import (
    chain,
    config_files,
    run_config,
    run_result,
    saved_config,
    saved_steps,
)
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import command_line, config_flag, flag_parsing, processes
from vgg_jax.system.heavy_imports import heavy_imports
from vgg_jax.training import more_epochs

if TYPE_CHECKING:
    from vgg_jax.data.decodable import SizedImages
    from vgg_jax.evaluation.result_key import ResultKey

_CONFIG = config_flag.define(
    "The config file, which says what to train, for example configs/mini.py:a_256. "
    "--config.KEY=VALUE overrides one of its keys. If --workdir holds a run, the default is the "
    "config of that run.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "verify"],
    "train trains the net and then evaluates it; eval only evaluates a checkpoint, for example of "
    "--workdir=runs/mine; verify reads all files of the run in --workdir, and says which are "
    "damaged.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder in which the run keeps all its files, for example runs/mine or "
    "gs://BUCKET/FOLDER. The default is runs/NAME, with the config's name.",
)

_OUT = flags.DEFINE_string(
    "out",
    None,
    "The folder for what an evaluation computes, for example evaluated, where the workdir can't be "
    "written to. The files lie in its folder eval, as in a workdir. The default is the workdir.",
)
_PROFILE = flags.DEFINE_bool(
    "profile",
    False,
    "Traces ten training steps, from the sixth one of this start on, to the workdir's folder "
    "profile, for TensorBoard and Perfetto.",
)

_WHAT_TO_GIVE = (
    "Give --config=configs/NAME.py to train a net, or --workdir=DIR to go on with the run there or "
    "to evaluate it."
)


def main(argv: list[str]) -> None:
    """Trains the net unless its run is finished, and evaluates it."""
    if len(argv) > 1:
        raise UserError(f"Unknown arguments: {' '.join(argv[1:])}.")
    if _PROFILE.value and _MODE.value != "train":
        raise UserError("--profile traces training steps, so it needs --mode=train.")
    if _OUT.value and _MODE.value != "eval":
        raise UserError("--out needs --mode=eval.")
    if _MODE.value == "verify":
        _verify()
        return
    c = _CONFIG.value
    with processes.errors_told_to_others():
        workdir = _checked_workdir(c)
    with processes.joined():
        processes.refuse_different("mode and config", [_MODE.value, run_config.shared(c)])
        if _MODE.value == "eval":
            processes.from_first(lambda: chain.check_evaluated(c, workdir))
            _evaluate(c, workdir)
        else:
            _train(c, workdir)


def _checked_workdir(c: ConfigDict) -> Path:
    """Checks the config and the flags, and returns the workdir."""
    workdir = files.path(_WORKDIR.value or f"runs/{c.name}")
    if c.deterministic:  # Before anything may import JAX, such as a user's own module.
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    config.validate(c)
    if _MODE.value == "eval":
        files.refuse_unwritable(_out(workdir), "Name a folder for the results with --out.")
    elif files.in_bucket(workdir) or not run_result.path(workdir).exists():
        files.refuse_unwritable(workdir, "Choose another --workdir.")
    if _MODE.value == "eval" and c.eval.method == "none":
        raise UserError(
            "eval.method=none leaves nothing to do with --mode=eval. Add "
            "--config.eval.method=dense, or another method."
        )
    if _PROFILE.value and files.in_bucket(workdir):
        raise UserError(
            f"--profile writes to a disk, and --workdir={workdir} is in a bucket. Name a folder on "
            "a disk."
        )
    return workdir


def _verify() -> None:
    if not _WORKDIR.value:
        raise UserError("--mode=verify needs the --workdir of a run.")
    with heavy_imports():
        from vgg_jax import verify

    verify.verify(files.path(_WORKDIR.value))


def _train(c: ConfigDict, workdir: Path) -> None:
    result = processes.from_first(lambda: _finished(c, workdir), _read_result)
    val = None
    if result is None:
        given = ("training", "training", "choose another --workdir")
        with processes.one_writer(workdir, *given):
            # The last writer may have ended the run, or begun another.
            result = processes.from_first(lambda: _finished(c, workdir), _read_result)
            if result is None:
                result, val = _begin_or_go_on(c, workdir)
    processes.from_first(lambda: _print_result(c, workdir, result))
    evaluates = c.eval.method != "none" and "imported" not in result
    if evaluates and (val is not None or _can_be_evaluated(workdir)):
        _evaluate(c, workdir, val)
    processes.from_first(lambda: _print_next_steps(c, workdir))


def _begin_or_go_on(c: ConfigDict, workdir: Path) -> tuple[dict[str, Any], "SizedImages"]:
    """Trains a run; returns its result and the validation images."""
    with heavy_imports():
        from vgg_jax.data import opening
        from vgg_jax.system import compilation_cache
        from vgg_jax.training.train import train

    processes.from_first(lambda: _tell_of_unfinished_source(c, workdir))
    images = opening.for_training(c)
    compilation_cache.keep(c.data.cache_dir)
    return train(c, workdir, images, profile=_PROFILE.value), images.val


def _tell_of_unfinished_source(c: ConfigDict, workdir: Path) -> None:
    told = None if saved_steps.has_checkpoint(workdir) else chain.unfinished_source(c, workdir)
    if told:
        print(told, flush=True)


def _can_be_evaluated(workdir: Path) -> bool:
    """Returns whether a finished run can be evaluated again; if not, says so."""
    try:
        files.refuse_unwritable(workdir, "Evaluate it with --mode=eval --out=FOLDER.")
    except UserError as error:
        print(error)
        return False
    return True


def _out(workdir: Path) -> Path:
    return files.path(_OUT.value) if _OUT.value else workdir


def _finished(c: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """Returns the result of a finished run; otherwise checks that the run can begin or resume."""
    resumes, result = saved_steps.has_checkpoint(workdir), run_result.read(workdir)
    # A run that ended before its first checkpoint may be replaced by another.
    goes_on = (resumes or result is not None) and more_epochs.are_wanted(c, workdir)
    if resumes or result is not None:
        run_config.refuse_other_run(c, workdir, may_differ=["num_epochs"] if goes_on else ())
    if result is not None and not goes_on:
        print("This run is finished.")
        if c.data.dir and c.eval.method == "none" and _has_other_data(c, workdir):
            print(
                f"data.dir={files.printable(files.path(c.data.dir))} was not opened: with "
                "eval.method=none, nothing is left to do with images."
            )
        if _PROFILE.value:
            raise UserError(
                "--profile traces training steps, and this run has none left. Name another "
                "--workdir, or raise --config.num_epochs."
            )
        return result
    if not resumes:
        named = config_flags.get_config_filename(flags.FLAGS["config"])
        chain.check(c, workdir, config_files.folder_of(named))
    return None


def _has_other_data(c: ConfigDict, workdir: Path) -> bool:
    evaluated, trained = map(data_settings.evaluated_data, (c, run_config.existing(workdir)))
    return evaluated != trained


def _read_result(value: Any) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def _evaluate(c: ConfigDict, workdir: Path, val: "SizedImages | None" = None) -> None:
    """Evaluates the checkpoint that the config names; opens the images if they aren't given."""
    with heavy_imports():
        from vgg_jax.data import opening
        from vgg_jax.evaluation import evaluate

    source = val.source if val else opening.for_evaluation(c)
    net = evaluate.load_net(c, workdir, source)
    data = val or opening.scanned(c, source)
    key = evaluate.key_of(c, workdir, net, data.source)
    for line in evaluate.evaluate(c, workdir, key, net, data, _out(workdir)):
        print(safe_text.lines(line), flush=True)
    if not _OUT.value and not c.eval.labels:
        own = run_config.existing(workdir)
        processes.from_first(lambda: _write_report(own, key, workdir, data))


def _write_report(own: ConfigDict, key: "ResultKey", workdir: Path, data: "SizedImages") -> None:
    # Imported here, because Matplotlib takes half a second.
    from vgg_jax.data.decoded import Decoded
    from vgg_jax.run_report import report

    path = workdir / report.file_name(key, data_settings.evaluated_split(own))
    try:
        report.write(workdir, key, path, Decoded(data.source))
    except UserError as error:  # The run has saved another checkpoint meanwhile, for example.
        print(f"No report was written: {error}", flush=True)
    else:
        print(f"The report is in {path}.", flush=True)


def _print_result(c: ConfigDict, workdir: Path, result: dict[str, Any]) -> None:
    if "imported" in result:
        print(
            f"\n{c.name}: net {c.net}, imported from {result['imported'].get('file')}. "
            "To evaluate it:\n"
            f"  python -m vgg_jax.main --mode=eval --workdir={workdir} --config.data.dir=DATA\n",
            flush=True,
        )
        return
    last, best = result["last"], result["best"]
    tells = has_top5(result.get("num_classes", 1000))
    top5 = f", top-5 error {last['top5_error']:.2f}%" if tells else ""
    of_epochs = ""
    if c.schedule == "plateau" and run_result.ended_by_schedule(result, c.num_epochs):
        of_epochs = f" of {c.num_epochs}, where the plateau rule ended training"
    print(
        f"\n{c.name}: top-1 error {last['top1_error']:.2f}%{top5} "
        f"on {counted(last['num_images'], 'validation images')} (centre crop; "
        "the paper reports dense evaluation, §3.2) "
        f"after {counted(int(last['epoch']), 'epochs')}{of_epochs}\n"
        f"  checkpoint  {saved_steps.path(workdir, last['step'])}\n"
        f"  best        {saved_steps.path(workdir, best['step'])}  "
        f"(top-1 error {best['top1_error']:.2f}%)\n"
        f"  curves      {workdir / 'curves.png'}\n",
        flush=True,
    )
    advice = not_learned.advice(c, result)
    if advice:
        print(f"{advice}\n", flush=True)
    num_images = last["num_images"]
    (lowest, _), (_, highest_of_best) = (
        topk.interval(round(one["top1_error"] * num_images / 100), num_images)
        for one in (last, best)
    )
    # The best of many noisy errors is low by chance too.
    if highest_of_best < lowest:
        print(
            f"The best checkpoint's error is at most {highest_of_best:.2f}%, the last one's at "
            f"least {lowest:.2f}% (95% intervals). Evaluations and predictions take the last one. "
            "To take the best: "
            "--config.eval.checkpoint=best with --mode=eval, --checkpoint=best with predict.\n",
            flush=True,
        )


def _print_next_steps(c: ConfigDict, workdir: Path) -> None:
    print("\nNext:", *map(safe_text.printable, next_steps.lines(c, workdir)), sep="\n  ")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command's flags; returns the program's name and the arguments that are left.

    Raises:
      UserError: No config is given, or it can't be loaded, or it has no key that a flag names.
    """
    if _given(argv, "mode") == "verify":  # The config itself may be damaged.
        return flag_parsing.parse(argv)
    with processes.errors_told_to_others():
        if _given(argv, "config") is None:
            argv = _with_config_of_run(argv)
        with config_flag.clear_errors(argv):
            rest = flag_parsing.parse(argv)
            _CONFIG.value.lock()  # If its file can't be loaded, only this access raises.
    return rest


def _with_config_of_run(argv: list[str]) -> list[str]:
    """Adds the --config of the run in --workdir.

    Raises:
      UserError: There is no --workdir, it has no run, or the run's config is damaged.
    """
    workdir = _given(argv, "workdir")
    if not workdir or run_config.load(files.path(workdir)) is None:
        # A flag that is misspelt is the likelier reason.
        flag_parsing.refuse_unknown(argv)
    if not workdir:
        raise UserError(_WHAT_TO_GIVE)
    if run_config.load(files.path(workdir)) is None:
        give = "Give --config=configs/NAME.py to train one there, or the --workdir of a run."
        raise UserError(run_config.no_run(files.path(workdir), give))
    return [argv[0], f"--config={saved_config.__file__}:{workdir}", *argv[1:]]


def _given(argv: list[str], name: str) -> str | None:
    """Returns the value of a flag before flags are parsed; None if it isn't given."""
    for argument, following in itertools.pairwise([*argv, ""]):
        match = re.fullmatch(rf"--?{name}(?:=(.*))?", argument)
        if match:
            return following if match[1] is None else match[1]
    return None


if __name__ == "__main__":
    command_line.run(main, parse_flags, goes_on=True)
