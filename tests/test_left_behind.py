"""Kills and stops leave nothing in shared memory and temporary folders, and no noise on stderr."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import small_runs

from vgg_jax.storage import owned

OWNS = """
import pathlib, sys, time
from vgg_jax.storage import owned
for name in ("object", "sem.object"):
    (owned.SHARED_MEMORY / name.replace("object", f"{owned.prefix()}-object")).touch()
with owned.temporary_folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


def owner(tmp_path):
    """Starts a process that owns two objects in shared memory, and a folder with a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNS],
        env=small_runs.environment(TMPDIR=str(tmp_path), PYTHONPATH=str(small_runs.ROOT)),
        stdout=subprocess.PIPE,
        text=True,
    )
    folder = pathlib.Path(process.stdout.readline().strip())
    return process, folder


def in_shared_memory(pid):
    """Returns the names in shared memory that belong to a process."""
    return [path.name for path in owned.SHARED_MEMORY.glob(f"*vgg_jax-*-{pid}.*")]


def test_what_the_dead_owned_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process, folder = owner(tmp_path)
    owned.remove_of_the_dead()
    assert len(in_shared_memory(process.pid)) == 2
    assert (folder / "file").exists()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    owned.remove_of_the_dead()  # It is a zombie, whose PID is still taken.
    assert in_shared_memory(process.pid) == []
    assert list(tmp_path.iterdir()) == []
    process.communicate()


def test_what_may_be_of_the_living_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, machine, lives = owned.prefix().split("-")
    died = f"{os.getpid()}.1"  # It had this PID before.
    kept = {
        f"vgg_jax-{machine}-{lives}-a",
        f"vgg_jax-{machine}-{died}+{lives}-a",
        f"vgg_jax-{'0' * len(machine)}-{died}-a",
        "vgg_jax-notes",
        f"vgg_jax-{machine}-1-1-a",
        f"vgg_jax-{machine}-.+.-a",
        f"vgg_jax-{machine}-{'9' * 99}.1-a",
    }
    for name in {*kept, f"vgg_jax-{machine}-{died}-a", f"vgg_jax-{machine}-{died}+{died}-a"}:
        (tmp_path / name).touch()
    owned.remove_of_the_dead()
    assert {path.name for path in tmp_path.iterdir()} == kept


def start_run(folder, workdir):
    """Starts a training with a worker; returns it when it trains."""
    flags = small_runs.one_epoch(
        folder,
        workdir,
        "--config.num_epochs=1000",
        "--config.log_every_steps=1",
        "--config.data.num_workers=1",
    )
    run = subprocess.Popen(
        [*small_runs.COMMAND, *flags],
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 1):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.01)
    return run


@pytest.mark.runs
def test_a_run_that_is_killed_with_its_workers(folder, tmp_path):
    run = start_run(folder, tmp_path / "run")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    left = in_shared_memory(run.pid)
    # If these fail, Python or Grain chooses the names in another way: see `system.shared_memory`.
    assert [name for name in left if name.startswith("sem.")]
    assert [name for name in left if not name.startswith("sem.")]
    assert small_runs.run_module("vgg_jax.describe", "--net=A").returncode == 0
    assert in_shared_memory(run.pid) == []


def text_between_progress(errors):
    """Returns the lines of stderr that don't show progress."""
    lines = [line.strip() for line in errors.split("\n")]
    return [line for line in lines if line and not line.startswith("training: ")]


@pytest.mark.runs
def test_a_stop_with_workers_says_only_that_it_stopped(folder, tmp_path):
    run = start_run(folder, tmp_path / "run")
    os.killpg(run.pid, signal.SIGTERM)
    _, errors = run.communicate(timeout=60)  # All that write there have ended then.
    (line,) = text_between_progress(errors)
    assert re.fullmatch(
        r"Stopped and saved at step \d+; the same command goes on from there.", line
    )
    assert in_shared_memory(run.pid) == []


@pytest.mark.runs
def test_workers_whose_run_is_killed_end_silently(folder, tmp_path):
    run = start_run(folder, tmp_path / "run")
    run.kill()
    _, errors = run.communicate(timeout=60)
    assert text_between_progress(errors) == []
    assert in_shared_memory(run.pid) == []
