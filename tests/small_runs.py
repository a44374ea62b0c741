"""Helpers for tests that start real runs of miniatures on small folders of images."""

import os
import pathlib
import re
import socket
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
# Tests compile more than they compute: without optimisation they need two thirds of the time.
XLA_FLAGS = "--xla_backend_optimization_level=0"
COMMAND = (sys.executable, "-m", "vgg_jax.main")
# In this environment Python's encoding is ASCII, as under a bare cron or container.
ASCII_ALONE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def arguments(folder, workdir, name, *more):
    """Returns the flags of a narrow miniature of configs/NAME.py on a folder of images."""
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
    """Returns the flags that train net A for one epoch of two steps on conftest.py's `folder`."""
    small = ("--config.batch_size=8", "--config.eval.batch_size=8", "--config.num_epochs=1")
    return arguments(folder, workdir, "a_256", *small, *more)


def small_crops(folder, workdir, *more):
    """Returns the flags that train net A on crops of 32 px, at several S, in batches of 8."""
    crops = ("--config.crop_px=32", "--config.train_scale=33,48", "--config.val_scale=36")
    return arguments(folder, workdir, "a_256", *crops, "--config.batch_size=8", *more)


def environment(**more):
    """Returns this process's environment, without its eight virtual devices, and with `more`."""
    # Bytecode of this project's modules is kept, however the session was started.
    return os.environ | {"XLA_FLAGS": XLA_FLAGS, "PYTHONDONTWRITEBYTECODE": ""} | more


def run_process(*args, **more):
    """Runs `vgg_jax.main` to its end; `more` joins its environment."""
    return run_module("vgg_jax.main", *args, **more)


def run_module(module, *args, **more):
    """Runs a module of this project to its end; `more` joins its environment."""
    return run_python("-m", module, *args, **more)


def run_python(*args, **more):
    """Runs Python to its end, in the folder of this project; `more` joins its environment."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(**more),
    )


def start(*arguments, module="vgg_jax.main", **more):
    """Starts a module of this project; `more` joins its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def start_processes(count, devices, *args, command=COMMAND, **more):
    """Starts `count` processes of one job, with `devices` devices each.

    An argument may be a function of the process's number, to give each process a value of its
    own. `more` joins their environment.
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
    """Waits for processes and returns (exit status, stdout, stderr) of each."""
    texts = [process.communicate(timeout=timeout_s) for process in processes]
    return [(p.returncode, *text) for p, text in zip(processes, texts, strict=True)]


def spoke(output):
    """Returns whether a process printed more than Gloo's messages about connected processes.

    Several threads print these messages, and their words were seen to mix.
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
    """Writes {split: number} images of three classes, which brightness tells apart."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for index in range(count):
            directory = root / split / "abc"[index % 3]
            directory.mkdir(parents=True, exist_ok=True)
            height, width = rng.integers(32, 60, 2)
            pixels = rng.integers(0, 100 + 70 * (index % 3), (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(directory / f"{index:02}.png")
    return root
