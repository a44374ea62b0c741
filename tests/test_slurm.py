"""Jobs on a Slurm cluster of two nodes on this machine: requeued, stopped, failed, cancelled."""

import os
import re
import shutil
import subprocess
import tempfile
import time

import jax
import numpy as np
import pytest
import saved
import small_runs
from PIL import Image

from launch.backends.slurm import Slurm
from launch.plan import graph, selection
from launch.plan.sweep_spec import Sweep
from launch.plan.task import Task
from vgg_jax.errors import UserError
from vgg_jax.storage import files

SCRIPT = small_runs.ROOT / "tests/slurm.sh"

# The tests need Slurm's daemons; its commands alone would talk to another machine's.
pytestmark = [
    pytest.mark.runs,
    pytest.mark.skipif(
        not all(
            shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
            for name in ("slurmctld", "slurmd", "munged")
        ),
        reason="Slurm isn't installed: apt-get install slurm-wlm munge",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    folder = tempfile.mkdtemp(prefix="slurm")  # pytest's own paths are too long.
    try:
        shown = call("bash", SCRIPT, "start", folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", shown.removeprefix("export SLURM_CONF=").strip())
            yield
    finally:
        call("bash", SCRIPT, "stop", folder)
        shutil.rmtree(folder)


def call(*command, **environment):
    done = subprocess.run(
        [*map(str, command)],
        cwd=small_runs.ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queue():
    """Returns {task: (state, reason)} of the jobs in Slurm's queue."""
    lines = call("squeue", "--noheader", "--format=%j|%T|%r").splitlines()
    fields = [line.split("|") for line in lines]
    return {name.rpartition(".")[0]: (state, reason) for name, state, reason in fields}


def record(number):
    """Returns the fields that Slurm still knows of a job that has ended."""
    return dict(re.findall(r"(\w+)=(\S*)", call("scontrol", "--oneliner", "show", "job", number)))


def numbers(printed):
    """Returns {task: the job's number} of what a sweep has printed."""
    return dict(re.findall(r"^(?:submitted|waits|runs) +(\S+) +job (\d+)", printed, re.MULTILINE))


def wait_for(condition, seconds=180):
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, (queue(), condition)
        time.sleep(0.1)


# A chain of real runs.


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """17 training and 9 validation images of one size: evaluations compile one shape per scale."""
    root = tmp_path_factory.mktemp("slurm-images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 17), ("val", 9)):
        for index in range(count):
            folder = root / split / "abc"[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 100 + 70 * (index % 3), (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def overrides(images):
    keys = ("width=0.03125", "crop_px=32", "batch_size=8", "eval.batch_size=8", "num_epochs=8")
    more = ("log_every_steps=1", f"data.cache_dir={images}-cache")
    return [f"--config.{key}" for key in (*keys, *more)]


def sweep(root, images, *more):
    """Runs the command for the chain of `c_multiscale` on two nodes; returns what it prints."""
    done = small_runs.run_module(
        "launch.sweep",
        *("--runs=c_multiscale", "--mini", f"--root={root}", f"--data={images}"),
        *("--backend=slurm", "--nodes=2"),
        *("--", *overrides(images), *more),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_chain_on_two_nodes_requeued_in_the_middle(images, tmp_path, run_main):
    """A, C from A, C at S = 384 and C with jitter equal the runs of one process."""
    root = tmp_path / "slurm"
    first = numbers(sweep(root, images))
    assert [*first] == ["a_256", "c_256", "c_384", "c_multiscale", "c_multiscale-dense"]
    metrics = root / "mini_a_256/metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text())
    call("scontrol", "requeue", first["a_256"])

    # Waiting jobs go on waiting, and are not submitted twice.
    wait_for(lambda: queue()["a_256"][0] == "PENDING")
    again = sweep(root, images)
    assert numbers(again) == first
    assert re.search(r"waits +a_256 +job \d+, BeginTime\n", again)
    assert len(re.findall(r"waits +c_\S+ +job \d+, Dependency\n", again)) == 4

    alone = tmp_path / "alone"
    of_one = Sweep(alone, mini=True, data=str(images), overrides=tuple(overrides(images)))
    for task in graph.tasks(of_one, selection.of_runs(["c_multiscale"])):
        if task.kind == "train":
            run_main(*task.arguments[2:])

    wait_for(lambda: not queue(), seconds=400)
    assert re.findall(r"^done +(\S+)$", sweep(root, images), re.MULTILINE) == [*first]

    log = (root / "logs/a_256.log").read_text()
    at = [int(step) for step in re.findall(r"Stopped and saved at step (\d+)", log)]
    assert len(at) == 2  # Both tasks say so.
    assert at[0] == at[1] < 16
    assert re.findall(r"Job (\d+) on (\S+), start (\d)", log) == [
        (first["a_256"], "127.0.0.[1-2]", number) for number in "12"
    ]
    assert re.findall(r"3 classes, decoded by threads, (.*?)(?:,.*)?\n", log) == [
        "2 x cpu; starts from random parameters",
        f"2 x cpu; goes on at step {at[0]}",
    ]
    for run in ("a_256", "c_256", "c_384", "c_multiscale"):
        ours, theirs = (saved.arrays(where / f"mini_{run}", "params") for where in (root, alone))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), ours, theirs)
        assert "2 x cpu; starts from " in (root / f"logs/{run}.log").read_text()


def test_what_failed_is_shown_and_submitted_again(images, tmp_path):
    root = tmp_path / "my runs, 100%j $HOME 'x'"
    wrong = "--config.batch_size=100"
    first = numbers(sweep(root, images, wrong))
    wait_for(lambda: not queue())
    assert record(first["a_256"])["ExitCode"] == "2:0"
    assert record(first["c_multiscale-dense"])["JobState"] == "CANCELLED"

    shown = sweep(root, images, wrong)
    (failed,) = re.findall(r"failed .*", shown)
    assert failed.startswith(f"failed    a_256                     see {root}/logs/a_256.log: ")
    second = numbers(shown)
    assert second.keys() == first.keys()
    assert not {*second.values()} & {*first.values()}
    call("scancel", *second.values())


# The script around a task, tried with tasks that take no time.

STOPPED_ONCE = """
import pathlib, signal, sys
result = pathlib.Path(sys.argv[1])
if result.with_name("stopped").exists():
    result.touch()
    sys.exit()
signal.signal(signal.SIGTERM, lambda *_: None)
result.with_name("started").touch()
signal.pause()
result.with_name("stopped").touch()
"""


def task(folder, name, code, waits_for=()):
    result = folder / name / "result.json"
    result.parent.mkdir(exist_ok=True)
    kind = "evaluate" if waits_for else "train"
    log = folder / f"logs/{name}.log"
    return Task(name, kind, ("-c", code, str(result)), waits_for, result, log, result.parent)


def submit(folder, tasks, capsys, options="--mem=100M"):
    Slurm(nodes=1, sbatch=options).run(Sweep(files.path(str(folder))), tasks)
    return numbers(capsys.readouterr().out)


def test_what_was_stopped_is_queued_again_and_what_waits_for_it_waits(tmp_path, capsys):
    first = task(tmp_path, "first", STOPPED_ONCE)
    # Its result is there already, but it is older than the first task's, which it is made from.
    second = task(tmp_path, "second", "import sys; open(sys.argv[1], 'w')", ("first",))
    second.result.touch()
    jobs = submit(tmp_path, [first, second], capsys, "--comment='two words' --mem 100M")
    wait_for((first.workdir / "started").exists)
    assert "two words" in call("squeue", "--noheader", "--format=%k")
    # A preemption with a grace time does the same, and so does --signal before the time limit.
    call("scancel", "--signal=TERM", jobs["first"])
    wait_for(lambda: queue()["first"] == ("PENDING", "BeginTime"))
    assert queue()["second"] == ("PENDING", "Dependency")
    assert submit(tmp_path, [first, second], capsys) == jobs
    wait_for(lambda: not queue())
    assert record(jobs["first"])["Restarts"] == "1"
    for name in ("first", "second"):
        assert record(jobs[name])["JobState"] == "COMPLETED"
    assert second.result.stat().st_mtime_ns > first.result.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", "3:0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "137:0"),
    ],
)
def test_what_fails_is_not_queued_again(tmp_path, capsys, code, status):
    jobs = submit(tmp_path, [task(tmp_path, "fails", code)], capsys)
    wait_for(lambda: not queue())
    assert record(jobs["fails"])["ExitCode"] == status
    assert record(jobs["fails"])["Restarts"] == "0"


def test_what_is_cancelled_stays_so(tmp_path, capsys):
    first = task(tmp_path, "first", STOPPED_ONCE)
    jobs = submit(tmp_path, [first], capsys)
    wait_for((first.workdir / "started").exists)
    call("scancel", jobs["first"])
    wait_for(lambda: not queue())
    assert record(jobs["first"])["JobState"] == "CANCELLED"
    assert record(jobs["first"])["Restarts"] == "0"


def test_what_waits_for_a_cancelled_job_is_submitted_with_it(tmp_path, capsys):
    """This holds at once, whether or not Slurm has cancelled the waiting job."""
    first, second = task(tmp_path, "first", ""), task(tmp_path, "second", "", ("first",))
    later = "--begin=now+1hour"
    jobs = submit(tmp_path, [first, second], capsys, later)
    call("scancel", jobs["first"])
    again = submit(tmp_path, [first, second], capsys, later)
    assert again.keys() == jobs.keys()
    assert not {*again.values()} & {*jobs.values()}
    shown = call("squeue", "--noheader", "--format=%i %E")
    assert sorted(shown.splitlines()) == [
        f"{again['first']} (null)",
        f"{again['second']} afterok:{again['first']}(unfulfilled)",
    ]
    call("scancel", *again.values())


def test_what_slurm_refuses(tmp_path):
    with pytest.raises(UserError, match="failed: sbatch: error: invalid partition specified: none"):
        submit(tmp_path, [task(tmp_path, "first", "")], None, "--partition=none")
