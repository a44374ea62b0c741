"""Commands that are started while others write the same workdir, on disks of all kinds."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import gcs_server
import jax
import no_flock
import numpy as np
import pytest
import saved
import small_runs

from vgg_jax.storage import files, lease
from vgg_jax.storage.lease import Lease, Owner

pytestmark = pytest.mark.runs


@pytest.fixture(params=["flock", "no flock"])
def environment(request, tmp_path):
    """An environment for commands, on a disk with flock or without."""
    if request.param == "flock":
        return {}
    small_runs.fill(tmp_path / "site", {"sitecustomize.py": no_flock.CODE.encode()})
    return {"PYTHONPATH": str(tmp_path / "site")}


@contextlib.contextmanager
def started(*arguments, module="vgg_jax.main", **more):
    with small_runs.start(*arguments, module=module, **more) as process:
        yield process
        process.kill()


def ends(*processes):
    """Waits for processes and returns their ends, those of status 0 first."""
    return sorted(small_runs.ends(processes), key=lambda end: end[0])


def arguments(folder, workdir, *more):
    """A run like that of `trained`, but with a checkpoint at each step, and not evaluated."""
    other = ("--config.eval.method=none", "--config.checkpoint_every_steps=1")
    return small_runs.one_epoch(folder, workdir, *other, *more)


def assert_same(workdir, trained):
    def records(run):
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        timings = ("images_per_s", "input_wait_share")
        return [{k: v for k, v in line.items() if k not in timings} for line in lines]

    def result(run):
        values = json.loads((run / "result.json").read_text())
        return {key: value for key, value in values.items() if key != "commits"}

    assert records(workdir) == records(trained)
    assert result(workdir) == result(trained)
    for ours, theirs in zip(
        *(jax.tree.leaves(saved.arrays(run)) for run in (workdir, trained)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def hidden(folder):
    """Returns the names of hidden files at any depth: leases and partial files."""
    return [path.name for path in folder.rglob(".*")]


def assert_refused(end, folder, what):
    status, _, errors = end
    assert status == 2, errors
    (line,) = errors.splitlines()
    assert re.fullmatch(
        rf"error: {folder} is in use: process (\d+) on \S+ has been {what} there since "
        r"[-\d]+ [:\d]+ UTC\. Wait until it has ended, stop it \(kill \1 on \S+\), or .*",
        line,
    )


def test_of_two_that_start_at_once_one_trains_as_if_alone(folder, trained, tmp_path, environment):
    workdir = tmp_path / "run"
    given = arguments(folder, workdir)
    with started(*given, **environment) as one, started(*given, **environment) as other:
        trains, refused = ends(one, other)
    assert trains[0] == 0, trains[2]
    assert_refused(refused, workdir, "training")
    assert_same(workdir, trained)
    assert hidden(workdir) == []


def test_another_config_touches_nothing(folder, trained, tmp_path):
    workdir = tmp_path / "run"
    given = arguments(folder, workdir)
    with started(*given) as one:
        while not lease.found(workdir, "training"):
            assert one.poll() is None, one.stderr.read()
            time.sleep(0.01)
        with started(*given, "--config.seed=5") as other:
            assert_refused(*ends(other), workdir, "training")
        ((status, _, errors),) = ends(one)
    assert status == 0, errors
    assert_same(workdir, trained)


def test_a_run_that_was_killed_and_is_started_at_once_goes_on(
    folder, trained, tmp_path, environment
):
    workdir = tmp_path / "run"
    given = arguments(folder, workdir)
    with started(*given, **environment) as process:
        # It is killed in its first checkpoint, unless it has ended.
        while not list((workdir / "checkpoints").glob("*")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()  # The next one starts before this one is waited for.
        with started(*given, **environment) as again:
            while not lease.found(workdir, "training") and again.poll() is None:
                time.sleep(0.01)
            again.kill()
        assert again.wait() in (0, -signal.SIGKILL), again.stderr.read()
    assert len(hidden(workdir)) <= 2
    if environment:  # Without flock, a file counts as left by a kill once it is a day old.
        for path in workdir.rglob(".*.partial"):
            os.utime(path, (0, 0))
    done = small_runs.run_process(*given, **environment)
    assert done.returncode == 0, done.stderr
    assert_same(workdir, trained)
    assert hidden(workdir) == []


def test_of_two_evaluations_that_start_at_once_one_evaluates(folder, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(workdir / "eval")
    given = small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.eval.batch_px=1")
    with started(*given) as one, started(*given) as other:
        both = ends(one, other)
    assert "dense, Q = 73: top-1 error" in both[0][1]
    assert sum("batches" in output for _, output, _ in both) == 1
    if both[1][0]:  # The other may have begun only when the first had ended.
        assert_refused(both[1], workdir / "eval", "evaluating val with dense")
    assert hidden(workdir) == []


@pytest.mark.parametrize("environment", ["no flock"], indirect=True)
def test_of_two_sweeps_that_start_at_once_one_runs(folder, tmp_path, environment):
    keys = ("width=0.03125", "batch_size=8", "eval.batch_size=8", "num_epochs=1")
    root = tmp_path / "sweep"
    given = [
        *(f"--root={root}", "--mini", f"--data={folder}", "--runs=a_256", "--"),
        *(f"--config.{key}" for key in (*keys, f"data.cache_dir={folder}-cache")),
    ]
    quick = (
        "from launch.backends import sweep_lock; sweep_lock.WAIT_S = 1.0\n"
        "import runpy; runpy.run_module('launch.sweep', run_name='__main__')"
    )
    command = [sys.executable, "-c", quick, *given]
    options = {
        "cwd": small_runs.ROOT,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": small_runs.environment(**environment),
    }
    with subprocess.Popen(command, **options) as one, subprocess.Popen(command, **options) as other:
        runs, refused = ends(one, other)
    assert runs[0] == 0, runs[1] + runs[2]
    assert_refused(refused, root, "running a sweep")
    assert hidden(root) == []


def test_in_a_bucket_one_trains_too(folder, trained):
    workdir = files.path("gs://bucket/run")
    given = arguments(folder, workdir)
    with gcs_server.serve("bucket") as server:
        with (
            started(*given, **server.environment) as one,
            started(*given, **server.environment) as other,
        ):
            trains, refused = ends(one, other)
        assert trains[0] == 0, trains[2]
        assert_refused(refused, workdir, "training")
        assert json.loads(server.read("run/result.json"))["last"]["step"] == 2
        assert not [name for name in server.names() if "/." in name]


def test_of_two_jobs_of_two_processes_one_trains(folder, trained, tmp_path):
    workdir = tmp_path / "run"
    given = arguments(folder, workdir)
    jobs = [small_runs.start_processes(2, 1, *given) for _ in range(2)]
    ends_of_jobs = sorted((small_runs.ends(job) for job in jobs), key=lambda job: job[0][0])
    (trains, refused) = ends_of_jobs
    assert [end[0] for end in trains] == [0, 0], trains
    assert [end[0] for end in refused] == [2, 2], refused
    assert f"error: {workdir} is in use: process " in refused[0][2]
    assert f"has ended: {workdir} is in use: process " in refused[1][2]
    assert json.loads((workdir / "result.json").read_text())["last"]["step"] == 2
    assert hidden(workdir) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_one_that_waits_ends_at_once_at_a_signal(folder, trained, tmp_path, mode, number, status):
    workdir = tmp_path / "run"
    where, name = workdir, "training"
    if mode == "eval":
        shutil.copytree(trained, workdir)
        shutil.rmtree(workdir / "eval")
        where, name = workdir / "eval", "val-dense"
    where.mkdir(parents=True)
    elsewhere = dataclasses.replace(
        Owner.this_process("training"), host="far", machine="another", pid=4242
    )
    descriptor = Lease(where, name, 1).create(elsewhere)
    os.close(descriptor)
    given = small_runs.one_epoch(folder, workdir, f"--mode={mode}")
    with started(*given) as process:
        for line in process.stdout:
            if line.startswith(f"{where} may be in use: process 4242 on far has been training"):
                break
        begin_s = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) == status
        assert time.monotonic() - begin_s < 10
    assert [one.generation for one in lease.found(where, name)] == [1]
