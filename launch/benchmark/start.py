"""Measures the time from the command of a training run to the end of its first step."""

import dataclasses
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import termios
import time
from typing import Any

import numpy as np
from PIL import Image

from launch.benchmark import table, turns
from launch.benchmark.case import Case
from launch.benchmark.turns import Results
from vgg_jax import base_config
from vgg_jax.errors import UserError


def measure(
    case: Case, rates: dict[str, Any], *, workers: int, rounds: int, limit_s: float
) -> dict[str, Any]:
    """Prints the table of one case, and returns all measurements.

    Args:
      case: The net, its precision and its batch.
      rates: The result of `sides.jax_rates`.
      workers: Worker processes that decode; 0 for threads.
      rounds: How many times each kind of start is measured.
      limit_s: The most seconds of one start.

    Raises:
      UserError: A run ended before its first step, or took longer than the limit.
    """
    results: Results = {"first time": [], "second time": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="benchmark") as name:
            folder = pathlib.Path(name)
            _draw(folder / "images", 2 * case.batch, 2 * case.crop_px)
            for kind, measured in results.items():
                print(f"Round {number + 1} of {rounds}: {kind}", file=sys.stderr, flush=True)
                command = _command(case, folder, folder / kind, workers)
                measured.append({"seconds": [first_step_s(command, limit_s)]})
    print(rendered(case, rates, results))
    return {"rates": rates, "case": dataclasses.asdict(case), "results": results}


def _draw(folder: pathlib.Path, count: int, side: int) -> None:
    """Draws noise to train and to validate on, of two classes."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        for split in ("train", "val"):
            path = folder / split / str(index % 2) / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def _command(case: Case, folder: pathlib.Path, workdir: pathlib.Path, workers: int) -> list[str]:
    scale = round(256 * case.crop_px / 224)  # The paper's smallest S, for this crop.
    keys = {
        "net": case.net,
        "width": case.width,
        "crop_px": case.crop_px,
        "num_classes": 0,  # The images say how many.
        "dtype": case.dtype,
        "batch_size": case.batch,
        "train_scale": f"{scale},{scale}",
        "val_scale": scale,
        "data.name": "folder",
        "data.dir": folder / "images",
        "data.cache_dir": folder / "cache",
        "data.num_workers": workers,
    }
    return [
        *(sys.executable, "-m", "vgg_jax.main", f"--config={base_config.__file__}"),
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in keys.items()),
    ]


def first_step_s(command: list[str], limit_s: float) -> float:
    """Returns the seconds until a run's progress bar moves, and ends the run.

    Raises:
      UserError: The run ended before, or took longer.
    """
    # Only on a terminal does the bar show when the first step is done.
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    # The first would precede the run's own cache. Without the second the run starts anew for huge
    # pages, as a user's does.
    left_out = ("JAX_COMPILATION_CACHE_DIR", "GLIBC_TUNABLES")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    begin_s = time.perf_counter()
    with turns.process(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal:
            while not _has_moved(shown):
                left_s = limit_s - (time.perf_counter() - begin_s)
                if not select.select([terminal], [], [], max(0.0, left_s))[0]:
                    raise UserError(f"The first step took longer than --limit_s={limit_s:g}.")
                try:
                    shown += terminal.read(4096)
                except OSError as error:  # EIO: the run has ended.
                    last = shown.decode(errors="replace").rstrip()[-1000:]
                    raise UserError(f"The run ended before its first step:\n{last}") from error
            return time.perf_counter() - begin_s


def _has_moved(shown: bytes) -> bool:
    """Returns whether the bar was drawn again after the one that announces the compilation."""
    _, compiling, after = shown.rpartition(b"compiling the first step")
    return bool(compiling) and re.search(rb"training: [^\r]*\]", after) is not None


def rendered(case: Case, rates: dict[str, Any], results: Results) -> str:
    """Returns the table and the ratio as Markdown."""
    rows, medians = [], []
    for name, rounds in results.items():
        seconds, spread = table.median_of_rounds(rounds)
        medians.append(seconds)
        rows.append([name, table.number(seconds), f"{spread:.1%}"])
    return "\n".join(
        [
            f"From the command to the end of the first step, net {case.net}, width {case.width:g}, "
            f"{case.crop_px} px, batch {case.batch}, {case.dtype}, {rates['device']}, "
            f"{table.medians(len(results['first time']))}. The first time nothing is kept; the "
            "second run finds its programs in the cache.",
            "",
            table.markdown(("", "seconds", "spread"), rows),
            "",
            f"ratio {medians[1] / medians[0]:.2f} of the second time to the first",
        ]
    )
