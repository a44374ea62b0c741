"""Real jobs of several processes: compared with one process, stopped, killed and refused."""

import json
import shutil
import signal
import socket
import sys
import time

import jax
import numpy as np
import pytest
import saved
import small_runs

from vgg_jax.runs import checkpoint_check

pytestmark = pytest.mark.runs

STEPS_PER_EPOCH, NUM_EPOCHS = 10, 3
LAST_STEP = STEPS_PER_EPOCH * NUM_EPOCHS


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """83 training images, a number that batches of 8 don't divide, and 30 validation images."""
    return small_runs.small_images(tmp_path_factory.mktemp("images"), train=83, val=30)


def arguments(images, workdir, *more):
    """Returns flags with dropout, colour shift, scale jitter and checkpoints within epochs."""
    return small_runs.small_crops(
        images,
        workdir,
        "--config.eval.batch_size=8",
        f"--config.num_epochs={NUM_EPOCHS}",
        "--config.plateau.patience_epochs=100",
        "--config.log_every_steps=4",
        "--config.checkpoint_every_steps=3",
        "--config.eval.method=none",
        *more,
    )


def train_alone(images, workdir):
    done = small_runs.run_process(*arguments(images, workdir))
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(images, workdir, *more, devices=1):
    return small_runs.start_processes(2, devices, *arguments(images, workdir, *more))


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """A run in one process, long enough for others to be stopped within it."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    train_alone(images, workdir)
    return workdir


def records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def result(workdir):
    return json.loads((workdir / "result.json").read_text())


def _leaves(workdir):
    return jax.tree.leaves(saved.arrays(workdir))


def assert_close(workdir, other):
    assert saved.steps(workdir) == saved.steps(other)
    for ours, theirs in zip(*map(_leaves, (workdir, other)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    ours, theirs = (records(run) for run in (workdir, other))
    assert [(r["kind"], r["step"]) for r in ours] == [(r["kind"], r["step"]) for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


def wait_for(condition, processes):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None], processes[0].stderr.read()
        time.sleep(0.005)


def lines(text):
    """Returns a text's lines without progress bars, which contain carriage returns."""
    return [line for line in text.split("\n") if line and "\r" not in line]


@pytest.mark.parametrize(("devices", "model_parallel"), [(2, 2), (1, 2)])
def test_two_processes_equal_one(images, alone, tmp_path, devices, model_parallel):
    """The FC kernels are sharded within each process, or over both; below, they are replicated."""
    shared = f"--config.model_parallel={model_parallel}"
    ends = small_runs.ends(start(images, tmp_path / "run", shared, devices=devices))
    assert [status for status, *_ in ends] == [0, 0], ends
    assert f"{2 * devices} x cpu" in ends[0][1]
    assert_close(tmp_path / "run", alone)
    for run in (tmp_path / "run", alone):  # One process computes the digests that two have saved.
        assert checkpoint_check.damage(run / f"checkpoints/{LAST_STEP}") is None
    ours, theirs = result(tmp_path / "run"), result(alone)
    assert ours["last"]["top1_error"] == theirs["last"]["top1_error"]
    for key in ("train_fingerprint", "val_fingerprint"):
        assert ours[key] == theirs[key]
    # Only the first process prints.
    assert not small_runs.spoke(ends[1][1])
    assert "images" not in ends[1][2]  # Progress bars count images.
    assert not list((tmp_path / "run").glob(".*"))


def test_a_checkpoint_from_before_its_validation_is_replaced(images, alone, tmp_path):
    """A run that is stopped in the validation leaves such a checkpoint; two processes go on."""
    workdir = shutil.copytree(alone, tmp_path / "run")
    (workdir / "result.json").unlink()
    saved = workdir / f"checkpoints/{LAST_STEP}/run/metadata"
    run = json.loads(saved.read_text())
    del run["sealed"]
    run["progress"] |= {"validation_due": True, "log": None}
    saved.write_text(json.dumps(run))
    ends = small_runs.ends(start(images, workdir))
    assert [status for status, *_ in ends] == [0, 0], ends
    assert not json.loads(saved.read_text())["progress"]["validation_due"]
    assert not (workdir / "checkpoint_before_validation").exists()
    assert_close(workdir, alone)


def test_a_killed_process_or_a_signal_to_one_ends_both(images, alone, tmp_path):
    """After a kill, the job goes on until a signal, and then to the end of one that had neither.

    Two processes take one job to its end, and a single process the other.
    """
    jobs = {}
    for who in (1, 0):  # Both jobs wait for a heartbeat at the same time.
        more = (tmp_path / str(who), f"--config.data.num_workers={who}")
        jobs[who] = start(images, *more)
        wait_for(lambda: saved.steps(tmp_path / str(who)), jobs[who])  # noqa: B023
        jobs[who][who].kill()
    for who, processes in jobs.items():
        ends = small_runs.ends(processes, timeout_s=60)
        assert ends[who][0] == -signal.SIGKILL
        status, _, errors = ends[1 - who]
        assert status not in (0, 130)
        last = [line for line in lines(errors) if line.startswith("error: ")][-1]
        assert "nother process of" in last
        assert "goes on from the last checkpoint" in last
        assert "Traceback" not in errors

    signals = {0: (signal.SIGTERM, [0, 0]), 1: (signal.SIGINT, [0, 130])}
    for who, (number, statuses) in signals.items():
        workdir = tmp_path / str(who)
        before = saved.steps(workdir)[-1]
        processes = start(images, workdir)
        wait_for(lambda: saved.steps(workdir)[-1] > before, processes)  # noqa: B023
        processes[who].send_signal(number)
        ends = small_runs.ends(processes)
        assert [status for status, *_ in ends] == statuses, ends
        assert f"goes on at step {before}\n" in ends[0][1]
        step = saved.steps(workdir)[-1]
        for _, _, errors in ends:
            assert f"Stopped and saved at step {step};" in errors
            assert "Traceback" not in errors
        if who:
            output = train_alone(images, workdir)
        else:
            ends = small_runs.ends(start(images, workdir))
            assert [status for status, *_ in ends] == [0, 0], ends
            output = ends[0][1]
        assert f"goes on at step {step}\n" in output
        assert_close(workdir, alone)
        assert checkpoint_check.damage(workdir / f"checkpoints/{LAST_STEP}") is None


def test_what_the_first_process_refuses_ends_the_others(images, tmp_path):
    """The first process alone scans the images, and its error ends both."""
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images/train/a/00.png").write_bytes(b"no image")
    first, second = small_runs.ends(start(tmp_path / "images", tmp_path / "run"))
    assert [first[0], second[0]] == [2, 2]
    assert "error: 1 of the 83 training images can't be decoded" in first[2]
    (line,) = lines(second[2])
    assert line.startswith("error: Process 0 on ")
    assert "has ended: 1 of the 83 training images can't be decoded" in line
    assert not (tmp_path / "run").exists()


def test_an_error_of_another_process_ends_the_first(images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    data = (images, tmp_path / "images")
    (data[1] / "val/a/00.png").unlink()
    ends = small_runs.ends(
        start(images, tmp_path / "run", lambda i: f"--config.data.dir={data[i]}")
    )
    assert [status for status, *_ in ends] == [2, 2]
    assert "error: Process 1 on " in ends[0][2]
    assert "error: The validation images of process 1" in ends[1][2]


def test_processes_with_other_commands_do_not_train(images, tmp_path):
    ends = small_runs.ends(start(images, tmp_path, lambda i: f"--config.seed={i}"))
    assert [status for status, *_ in ends] == [2, 2]
    assert "error: The mode and config of process 1" in ends[1][2]
    assert not (tmp_path / "checkpoints").exists()


def test_another_jobs_port(tmp_path):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        done = small_runs.run_process(
            *small_runs.one_epoch(tmp_path, tmp_path / "run"),
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID="0",
        )
    assert done.returncode == 2
    assert f"error: The port of JAX_COORDINATOR_ADDRESS=127.0.0.1:{port} can't be" in done.stderr


def test_an_error_of_all_processes_is_printed(images, tmp_path):
    ends = small_runs.ends(start(images, tmp_path, "--config.batch_size=7"))
    assert [status for status, *_ in ends] == [2, 2]
    assert any("batch_size=7 doesn't divide over 2 devices" in errors for *_, errors in ends)


UNSHARED = """
import pathlib, sys
from vgg_jax.system import command_line, processes
processes.FILE_S = 1
def main(argv):
    with processes.joined():
        processes.make_shared(pathlib.Path(argv[1]))
command_line.run(main)
"""


def test_a_workdir_that_hosts_do_not_share(tmp_path):
    command = (sys.executable, "-c", UNSHARED)
    ends = small_runs.ends(
        small_runs.start_processes(2, 1, lambda i: tmp_path / str(i), command=command)
    )
    assert [status for status, *_ in ends] == [2, 2]
    assert "is not the folder that the first process writes to" in ends[1][2]


def test_an_evaluation_stops_on_all(images, alone, tmp_path):
    shutil.copytree(alone, tmp_path / "run")
    more = (
        "--mode=eval",
        "--config.eval.method=multicrop",
        # JAX looks for signals once per second. At two Q, all was sometimes done before it did.
        "--config.eval.scales=36,38,40,42,44,46,48,50",
        "--config.eval.batch_px=1",
        "--config.eval.save_every_s=0",
    )
    processes = start(images, tmp_path / "run", *more)
    parts = tmp_path / "run/eval/val-multicrop-36.unfinished"
    wait_for(lambda: len(list(parts.glob("*.npz"))) > 1, processes)
    processes[1].send_signal(signal.SIGHUP)
    ends = small_runs.ends(processes)
    assert [status for status, *_ in ends] == [0, 0], ends
    for _, _, errors in ends:
        assert "what was computed is kept" in errors
    done = small_runs.run_process(*arguments(images, tmp_path / "run", *more))
    assert done.returncode == 0, done.stderr
    assert "on 30 images" in done.stdout


def test_a_process_that_sees_no_run_ends_the_others_at_once(alone, tmp_path):
    def workdir(index):
        return f"--workdir={tmp_path / 'not mounted' if index else alone}"

    began_s = time.monotonic()
    (_, _, told), (status, _, error) = small_runs.ends(
        small_runs.start_processes(2, 1, workdir, "--config.eval.method=none")
    )
    assert status == 2
    assert "error: There is no run in" in error
    assert "Process 1 on" in told
    assert "has ended: There is no run in" in told
    assert time.monotonic() - began_s < 60  # It was 5 minutes.
