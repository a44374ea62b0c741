"""`launch.sweep`: a chain of runs on this machine that is stopped, broken and repaired."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import forked
import pytest
import small_runs

from launch.backends import progress, sweep_lock
from vgg_jax.runs import run_result

# Calls `launch.sweep` for what ends soon, without the imports of each start.
command = forked.fixture("launch.sweep")


def small_flags(folder, root, *args):
    """Returns the flags of a sweep of narrow miniatures on conftest.py's `folder`."""
    keys = ("width=0.03125", "batch_size=8", "eval.batch_size=8", "num_epochs=1")
    overrides = [f"--config.{key}" for key in (*keys, f"data.cache_dir={folder}-cache")]
    return [f"--root={root}", "--mini", f"--data={folder}", *args, "--", *overrides]


def small(folder, root, *args):
    """Returns the command of such a sweep."""
    return [sys.executable, "-m", "launch.sweep", *small_flags(folder, root, *args)]


def call(command, **more):
    return subprocess.run(
        command,
        cwd=small_runs.ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=small_runs.environment(**more),
        timeout=240,
    )


def wait_for(condition, process):
    until_s = time.monotonic() + 120
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.05)


def starts(root, name):
    return (root / f"logs/{name}.log").read_text().count("\n$ python")


@pytest.fixture(scope="module")
def root(folder, tmp_path_factory):
    """A sweep that was killed in the middle, and whose runs have saved and ended."""
    root = tmp_path_factory.mktemp("sweep")
    process = subprocess.Popen(
        small(folder, root, "--runs=b_256,a_lrn_256"),
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (root / "logs/b_256.log").exists(), process)
    finally:
        process.kill()
        process.wait()
    with sweep_lock.locked(root):
        return root


@pytest.mark.runs
def test_killed_broken_mended_and_changed(command, folder, root):
    """All of this is one test, because each run takes seconds."""
    a_result = (root / "mini_a_256/result.json").read_text()
    assert not (root / "mini_b_256/result.json").exists()

    # A run that can't be made fails. It blocks the tasks that wait for it, and no others.
    lrn = root / "mini_a_lrn_256"
    shutil.rmtree(lrn, ignore_errors=True)
    lrn.touch()
    done = call(small(folder, root, "--runs=b_256,a_lrn_256"))
    assert done.returncode == 2
    assert re.search(
        r"failed +a_lrn_256 +see \S+a_lrn_256.log: error: \S+ can't be written to:", done.stdout
    )
    assert re.search(r"blocked +a_lrn_256-dense\n", done.stdout)
    assert "3 done, 1 failed, 1 blocked" in done.stdout
    assert f"1 failed:\n    a_lrn_256: {root}/logs/a_lrn_256.log\n" in done.stderr
    assert "error: 1 of the tasks failed. The same command tries them again.\n" in done.stderr
    assert (root / "mini_a_256/result.json").read_text() == a_result
    assert starts(root, "a_256") == starts(root, "b_256-dense") == 1
    evaluation = json.loads((root / "mini_b_256/eval/val-dense-64_73_82.json").read_text())
    assert evaluation["num_images"] == 9

    # After the repair, only what is missing is made.
    lrn.unlink()
    done = call(small(folder, root, "--runs=b_256,a_lrn_256"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 done, 2 wait" in done.stdout
    assert "5 done" in done.stdout
    assert starts(root, "b_256") == 2  # It was killed once.
    assert starts(root, "b_256-dense") == 1

    # An evaluation of an earlier checkpoint doesn't count as done.
    time.sleep(0.01)
    os.utime(root / "mini_b_256/result.json")
    shown = command(*small_flags(folder, root, "--runs=b_256", "--dry_run"))
    assert re.findall(r"(\S+) +configs/\S+ .*; is done", shown.stdout) == ["a_256", "b_256"]

    # A run that started from an earlier checkpoint is refused.
    time.sleep(0.01)
    os.utime(root / "mini_a_256/result.json")
    done = command(*small_flags(folder, root, "--runs=b_256"))
    assert done.returncode == 2
    assert "a_256, which it started from, was trained again afterwards" in done.stderr
    os.utime(root / "mini_b_256/result.json")

    # Another config is refused before anything runs.
    done = command(*small_flags(folder, root, "--runs=b_256"), "--config.momentum=0.5")
    assert done.returncode == 2
    assert "holds another run than this sweep's a_256:\n    momentum: 0.9 there, 0.5" in done.stderr

    # So are other images, unless some are left out: no index says which those are.
    a = root / "mini_a_256"
    run_result.write(a, run_result.read(a) | {"train_fingerprint": "of others"})
    one = small_flags(folder, root, "--runs=a_256", "--dry_run")
    assert "images aren't those that data.name and data.dir have now" in command(*one).stderr
    assert command(*one, "--config.data.undecodable=leave_out").returncode == 0


@pytest.mark.runs
def test_ctrl_c_lets_the_runs_save(folder, tmp_path):
    process = subprocess.Popen(
        [*small(folder, tmp_path, "--runs=a_256"), "--config.num_epochs=1000"],
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "mini_a_256/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text(), process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "failed" not in output
    assert output.endswith("  waits   a_256\n2 wait\n")
    assert "Stopped; the runs have saved, and the same command continues." in errors
    assert "Stopped and saved at step" in (tmp_path / "logs/a_256.log").read_text()


KILLED_AS_IT_STARTS_A_RUN = """
import os, pathlib, signal, sys, time
from launch.backends import devices, task_process

class Killed(devices.Devices):
    def bind(self):
        if {early}: os.kill(parent, signal.SIGKILL)
        while {early} and os.getppid() == parent: time.sleep(0.01)

parent = os.getpid()
signal.signal(signal.SIGTERM, lambda *_: None)
run = os.fork()
if run: signal.pause()
task_process._prepare(Killed("core", ()), parent)
pathlib.Path(sys.argv[1]).touch()
os.kill(parent, signal.SIGKILL)
time.sleep(60)
pathlib.Path(sys.argv[2]).touch()
"""


@pytest.mark.parametrize("early", [True, False])
def test_no_run_outlives_a_sweep_that_is_killed_as_it_starts_one(tmp_path, early):
    """The sweep is killed before the run has asked for a signal, or after."""
    script = KILLED_AS_IT_STARTS_A_RUN.format(early=early)
    started, went_on = tmp_path / "started", tmp_path / "went_on"
    read, write = os.pipe()  # `read` ends after the last process that holds `write`.
    process = subprocess.Popen(
        [sys.executable, "-c", script, started, went_on], cwd=small_runs.ROOT, pass_fds=[write]
    )
    os.close(write)
    assert process.wait(timeout=30) == -signal.SIGKILL
    with open(read) as held:
        assert held.read() == ""
    assert started.exists() != early
    assert not went_on.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Give either --tables=3,4,5 (some of 3 to 7) or --runs=NAME,NAME."),
        (["--tables=3", "--runs=a_256"], "Give either --tables"),
        (["--tables=2,3"], "--tables=2,3: choose some of 3, 4, 5, 6 and 7."),
        (["--runs=vgg16"], "--runs names no run: vgg16. Choose from a_256, "),
        (["--runs=a256"], "--runs names no run: a256. Did you mean a_256? Choose from a_256, "),
        (["--runs=a_256", "--data=confgs"], "ends in .csv. Did you mean configs? Give the folder"),
        (["--tables=3", "x"], "Unknown arguments: x. Only --config.KEY=VALUE may follow --."),
        (["--tables=3", "--", "--config.no_key=1"], "The config has no key"),
        (["--tables=3", "--data=photos.zip"], "--data=photos.zip is neither a folder nor"),
        (["--tables=3", "--data=no.csv"], "--data=no.csv is neither a folder nor a file that"),
        (["--tables=3", "--", "--config.seed=1"], "the sweep sets seed itself"),
        (["--tables=3", "--", "--config.eval.classes=present"], "the paper's errors, over all"),
        (["--tables=3", "--", "--config.crop_px=65"], "crop_px"),
    ],
)
def test_bad_input(command, tmp_path, args, message):
    done = command(f"--root={tmp_path}/runs", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_miniature_of_the_quickstart_has_its_scale(command, tmp_path):
    done = command(f"--root={tmp_path}/runs", "--runs=quickstart", "--mini", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "--config.eval.scales=73" in done.stdout


def test_a_dry_run_leaves_nothing(command, tmp_path):
    done = command(f"--root={tmp_path}/runs", "--tables=5", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs").exists()
    commands, tree = done.stdout.split("\n\n")
    assert commands.splitlines()[-1].startswith("How long 11 tasks will take isn't known yet")
    assert commands.splitlines()[:4] == [
        "  1  a_256                   configs/a_256.py  waits for nothing",
        "     python -m vgg_jax.main --config=configs/a_256.py "
        f"--workdir={tmp_path}/runs/a_256 --config.eval.method=none",
        "  2  d_256                   configs/d_256.py  waits for a_256",
        "     python -m vgg_jax.main --config=configs/d_256.py "
        f"--workdir={tmp_path}/runs/d_256 --config.eval.method=none",
    ]
    assert tree.splitlines()[:4] == [
        "a_256",
        "├─ d_256",
        "│  └─ d_384",
        "│     └─ d_multiscale",
    ]


@pytest.mark.parametrize("mini", [True, False])
def test_a_csv_file_is_every_runs_data(command, tmp_path, mini):
    file = small_runs.fill(tmp_path, {"list.csv": b"path,label,split\n"}) / "list.csv"
    flags = [f"--data={file}", "--runs=a_256", "--dry_run", *(["--mini"] if mini else [])]
    done = command(f"--root={tmp_path}/runs", *flags)
    assert done.returncode == 0, done.stderr
    assert f"--config.data.name=csv --config.data.dir={file}" in done.stdout
    assert ("--config.num_classes=0" in done.stdout) == (not mini)


def test_a_source_of_ones_own_is_every_runs_data(command, tmp_path):
    small_runs.fill(tmp_path, {"mine.py": b"class Images:\n    default_val_split = 'val'\n"})
    overrides = ["--config.data.name=mine:Images", f"--config.data.dir={tmp_path}"]
    flags = [f"--root={tmp_path}/runs", "--mini", "--runs=b_256", "--dry_run", "--", *overrides]
    done = call([sys.executable, "-m", "launch.sweep", *flags], PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    tasks = [line for line in done.stdout.splitlines() if "python -m vgg_jax.main" in line]
    assert len(tasks) > 1
    assert all(" ".join(overrides) in line for line in tasks)
    refused = command(*flags)
    assert refused.stderr.startswith("error: data.name=mine:Images: there is no module mine.")


def test_the_tail_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert progress.tail(log) == ""
    log.write_text("begins\n 10%|#   | 1/10\r 20%|##  | 2/10\r  \n")
    assert progress.tail(log) == "20%|##  | 2/10"
