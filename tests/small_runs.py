"""What tests share that start real runs of miniatures on small folders."""

import os
import pathlib
import re
import socket
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
# Tests compile more than they compute: without optimisation they take two thirds of the time.
XLA_FLAGS = "--xla_backend_optimization_level=0"
COMMAND = (sys.executable, "-m", "vgg_jax.main")
# Where Python's encoding is ASCII, as under a bare cron or container.
ASCII_ALONE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def arguments(folder, workdir, name, *more):
    """Flags of a narrow miniature of configs/NAME.py on a folder of images."""
    return [
        f"--config=configs/mini.py:{name}",
        f"--workdir={workdir}",
        "--config.data.name=folder",
        f"--config.data.dir={folder}",
        f"--config.data.cache_dir={folder}-cache",
        "--config.width=0.03125",
        *more,
    ]


def one_epoch(folder, workdir, *more):
    """Flags of net A, trained for an epoch of two steps on `folder` of conftest.py."""
    small = ("--config.batch_size=8", "--config.eval.batch_size=8", "--config.num_epochs=1")
    return arguments(folder, workdir, "a_256", *small, *more)


def environment(**more):
    """This process's, without its eight virtual devices."""
    # What is compiled of this project's modules is kept, however the session was started.
    return os.environ | {"XLA_FLAGS": XLA_FLAGS, "PYTHONDONTWRITEBYTECODE": ""} | more


def run_process(*args, **more):
    """Runs the command to its end; `more` joins its environment."""
    return run_module("vgg_jax.main", *args, **more)


def run_module(module, *args, **more):
    """Runs a command of this project; `more` joins its environment."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(**more),
    )


def start_processes(count, devices, *args, command=COMMAND, **more):
    """Starts several processes that are one job, each with so many devices.

    An argument that is a function of the process's number gives each its own; `more` joins their
    environment.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    return [
        subprocess.Popen(
            [*command, *(str(arg(i) if callable(arg) else arg) for arg in args)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(
                XLA_FLAGS=f"--xla_force_host_platform_device_count={devices} {XLA_FLAGS}",
                JAX_COORDINATOR_ADDRESS=address,
                JAX_NUM_PROCESSES=str(count),
                JAX_PROCESS_ID=str(i),
                **more,
            ),
        )
        for i in range(count)
    ]


def ends(processes, timeout_s=240):
    """Waits for processes; returns the status, output and errors of each."""
    texts = [process.communicate(timeout=timeout_s) for process in processes]
    return [(p.returncode, *text) for p, text in zip(processes, texts, strict=True)]


def spoke(output):
    """Whether a process printed more than Gloo's numbered words for processes that it connects.

    Several of its threads print those, and were seen to mix them.
    """
    words = r"\[Gloo\] Rank|is connected to|peer ranks\.|Expected number of connected peer ranks is"
    return re.fullmatch(rf"({words}|[\d\s:])*", output) is None


def fill(root, files):
    """Writes {name: bytes} below a folder and returns it."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def small_images(root, **counts):
    """Writes so many images of three classes, which brightness tells apart, for each split."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for index in range(count):
            directory = root / split / "abc"[index % 3]
            directory.mkdir(parents=True, exist_ok=True)
            height, width = rng.integers(32, 60, 2)
            pixels = rng.integers(0, 100 + 70 * (index % 3), (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(directory / f"{index:02}.png")
    return root
