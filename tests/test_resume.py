"""Real runs that are killed or stopped at any moment end like an uninterrupted one, to the bit."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
import saved
import small_runs

from vgg_jax.runs import run_result

pytestmark = pytest.mark.runs

STEPS_PER_EPOCH, NUM_EPOCHS = 11, 5


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with 91 training images, which 8 doesn't divide, and 60 validation images."""
    return small_runs.small_images(tmp_path_factory.mktemp("resume"), train=91, val=60)


def start(folder, workdir, *more, prefix=(), process_group=None):
    """Starts a run with dropout, colour shift, jitter, a rate that drops and many checkpoints."""
    arguments = small_runs.small_crops(
        folder,
        workdir,
        "--config.eval.batch_size=4",  # 15 batches, to have time for a kill in a validation.
        f"--config.num_epochs={NUM_EPOCHS}",
        "--config.plateau.patience_epochs=1",
        "--config.plateau.min_improvement=20",
        "--config.plateau.last_rate=1e-6",
        "--config.log_every_steps=7",
        "--config.checkpoint_every_steps=5",
        "--config.eval.method=none",
        "--config.deterministic=True",  # On a CPU this shows no more than that XLA knows the flag.
        *more,
    )
    return subprocess.Popen(
        [*prefix, *small_runs.COMMAND, *arguments],
        cwd=small_runs.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=small_runs.environment(),
        process_group=process_group,
    )


def finish(folder, workdir, *more):
    process = start(folder, workdir, *more)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="session")
def whole(folder, tmp_path_factory):
    """The workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    finish(folder, workdir)
    return workdir


def wait_until(condition, process):
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


def wait_for_training(process):
    """Waits for the run's first line, and returns it: imports and data are then done."""
    for line in process.stdout:
        if "parameters" in line:
            return line
    raise AssertionError(process.stderr.read())


def end(process, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    output, errors = process.communicate(timeout=180)
    return output, errors


def records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    timing = ("images_per_s", "input_wait_share")
    return [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]


def read_json(workdir, step):
    return json.loads((workdir / "checkpoints" / str(step) / "run" / "metadata").read_text())


def but_commits(values):
    """Leaves out the commits, which change if somebody edits the code during the tests."""
    return {key: value for key, value in values.items() if key != "commits"}


def but_timings(values):
    """Leaves out the commits, and the digests of the log, whose lines hold images/s."""
    log = values["progress"].pop("log")
    return {**but_commits(values), "log": log["lines"], "sealed": None}


def assert_same(workdir, whole):
    assert records(workdir) == records(whole)
    assert saved.steps(workdir) == saved.steps(whole)
    for step in saved.steps(whole):
        assert but_timings(read_json(workdir, step)) == but_timings(read_json(whole, step))
        ours, theirs = (jax.tree.leaves(saved.arrays(run, step=step)) for run in (workdir, whole))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    results = [run_result.read(run) for run in (workdir, whole)]
    assert but_commits(results[0]) == but_commits(results[1])


def test_the_uninterrupted_run_is_worth_comparing_with(whole):
    """Its log has each step once, its rate drops, and its last step has a checkpoint."""
    train = [r["step"] for r in records(whole) if r["kind"] == "train"]
    total = STEPS_PER_EPOCH * NUM_EPOCHS
    expected = {*range(7, total + 1, 7), *range(11, total + 1, 11)}
    assert train == sorted(expected)
    val = [r for r in records(whole) if r["kind"] == "val"]
    assert [r["step"] for r in val] == list(range(11, total + 1, 11))
    assert len({r["learning_rate"] for r in val}) > 2
    assert total in saved.steps(whole)
    assert run_result.read(whole)["ended_by_schedule"] is False
    losses = [r["loss"] for r in records(whole) if r["kind"] == "train"]
    assert len(set(losses)) == len(losses)


def last_on_disk(workdir):
    return max(saved.steps(workdir), default=0)


def wait_for_checkpoint(workdir, process):
    """Waits for a checkpoint later than those on the disk now."""
    before = last_on_disk(workdir)
    wait_until(lambda: last_on_disk(workdir) > before, process)


def catch(folder, workdir, condition, number):
    """Ends runs with a signal until the condition holds after one; returns that run's stderr."""
    while True:
        process = start(folder, workdir)
        wait_for_training(process)
        wait_until(condition, process)
        _, errors = end(process, number)
        if condition():
            return errors
        if (workdir / "result.json").exists():
            shutil.rmtree(workdir)


def being_written(workdir):
    return list((workdir / "checkpoints").glob("*tmp*"))


def in_validation(workdir):
    """Returns whether the log ends with an epoch's last step: its validation then runs."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    with contextlib.suppress(ValueError, IndexError):
        last = json.loads(lines[-1])
        return last["kind"] == "train" and last["step"] % STEPS_PER_EPOCH == 0
    return False


def test_killed_at_any_moment(folder, whole, tmp_path):
    """Kills a run while it starts, in a validation, in checkpoints, and at random moments."""
    rng, reached = random.Random(0), []

    def kill(process):
        killed = process.poll() is None
        end(process, signal.SIGKILL)
        reached.append(last_on_disk(tmp_path))
        return killed

    process = start(folder, tmp_path)
    wait_for_training(process)
    assert kill(process)  # It has yet to compile.
    catch(folder, tmp_path, lambda: in_validation(tmp_path), signal.SIGKILL)
    for _ in range(2):  # Each run first removes what an earlier one left half-written.
        catch(folder, tmp_path, lambda: being_written(tmp_path), signal.SIGKILL)
    kills, reached[:] = 0, []
    while kills < 5:
        process = start(folder, tmp_path)
        wait_for_training(process)
        if kills:  # The first of these kills comes while it restores.
            wait_for_checkpoint(tmp_path, process)
            time.sleep(rng.uniform(0, 0.3))
        kills += kill(process)
        if (tmp_path / "result.json").exists():
            assert_same(tmp_path, whole)
            shutil.rmtree(tmp_path)
    assert len(set(reached)) > 2  # The run made progress between kills.
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)
    assert not being_written(tmp_path)


def test_stopped_at_any_moment(folder, whole, tmp_path):
    """Stops a run in a validation, and at any step; each stop saves, and nothing is lost."""
    errors = catch(folder, tmp_path, lambda: in_validation(tmp_path), signal.SIGTERM)
    step = last_on_disk(tmp_path)
    assert step % STEPS_PER_EPOCH == 0
    assert f"saved at step {step}" in errors
    assert read_json(tmp_path, step)["progress"]["validation_due"]

    # It is killed where the checkpoint from before its validation is replaced.
    aside = tmp_path / "checkpoint_before_validation"
    process = start(folder, tmp_path)
    assert wait_until(lambda: list(aside.glob("*")), process)
    end(process, signal.SIGKILL)

    rng, within_a_window = random.Random(2), False
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    while numbers or not within_a_window:
        number = numbers.pop() if numbers else signal.SIGTERM
        process = start(folder, tmp_path)
        first_line = wait_for_training(process)
        assert f"goes on at step {step}\n" in first_line
        wait_for_checkpoint(tmp_path, process)
        assert not aside.exists()
        time.sleep(rng.uniform(0, 0.05))  # The run must not end before its last stop.
        before = time.monotonic()
        if number == signal.SIGTERM:  # Some launchers signal both group and process.
            process.send_signal(number)
            time.sleep(0.01)
        _, errors = end(process, number)
        assert time.monotonic() - before < 20  # On a loaded machine; an idle one takes below 1 s.
        assert process.returncode == (130 if number == signal.SIGINT else 0)
        assert "Traceback" not in errors
        step = saved.steps(tmp_path)[-1]
        assert f"saved at step {step}" in errors
        within_a_window |= bool(read_json(tmp_path, step)["progress"]["window"])
    assert f"goes on at step {step}\n" in finish(folder, tmp_path)
    assert_same(tmp_path, whole)


def test_signals_reach_the_worker_processes_too(folder, whole, tmp_path):
    """Ctrl-C in a terminal signals the whole process group, at any moment of its start.

    So does the terminal when it closes, and Slurm with SIGUSR1.
    """
    more = ("--config.data.num_workers=1",)
    stops = ((0.5, signal.SIGINT), (1, signal.SIGUSR1, signal.SIGHUP), (0, signal.SIGINT))
    for delay, *numbers in stops:
        process = start(folder, tmp_path, *more, process_group=0)
        wait_for_training(process)
        time.sleep(delay)
        if not delay:
            wait_until(lambda: in_validation(tmp_path), process)
        for number in numbers:
            os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == (130 if numbers == [signal.SIGINT] else 0), errors
        assert "Traceback" not in errors
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)


def test_more_epochs_a_kill_other_images_a_checkpoint_cut_short_and_a_full_disk(
    folder, whole, tmp_path
):
    """A finished run gets more epochs, and after every mishap it goes on from what is intact."""
    workdir, images = tmp_path / "run", tmp_path / "images"
    finish(folder, workdir, "--config.num_epochs=2")
    assert saved.steps(workdir)[-1] == 2 * STEPS_PER_EPOCH
    process = start(folder, workdir)
    wait_for_checkpoint(workdir, process)
    end(process, signal.SIGKILL)
    assert not (workdir / "result.json").exists()
    kept = saved.steps(workdir)
    assert kept[-1] > 2 * STEPS_PER_EPOCH

    def fails(*given, **options):
        process = start(*given, workdir, **options)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 2
        assert not (workdir / "result.json").exists()
        return errors

    shutil.copytree(folder, images)
    changed = next((images / "train" / "a").iterdir())
    shutil.move(changed, tmp_path)
    assert "training images are not those that this run began with" in fails(images)
    shutil.move(tmp_path / changed.name, changed)

    damaged = workdir / "checkpoints" / str(kept[-1])
    files = [path for path in (damaged / "params").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    errors = fails(images)
    assert f"error: The checkpoint {damaged} can't be read" in errors
    assert f"goes on from step {kept[-2]}" in errors
    assert saved.steps(workdir) == kept
    shutil.rmtree(damaged)

    # No file may exceed 60 KB: the system refuses further writes, as on a full disk.
    errors = fails(images, prefix=["bash", "-c", 'ulimit -f 60; exec "$@"', "-"])
    assert "error: A checkpoint could not be written" in errors
    assert f"The last good one is {workdir}/checkpoints/{kept[-2]}." in errors
    assert saved.steps(workdir) == kept[:-1]
    assert f"goes on at step {kept[-2]}\n" in finish(images, workdir)
    assert_same(workdir, whole)


def test_a_folder_that_takes_no_checkpoint_ends_the_run_at_once(folder, tmp_path):
    """A lost mount is like this. Orbax's threads wait ten minutes for files they can't make."""
    checkpoints, file, link = (tmp_path / name for name in ("run/checkpoints", "file", "link"))
    (tmp_path / "kept").mkdir()
    checkpoints.parent.mkdir()
    checkpoints.symlink_to(tmp_path / "kept")
    process = start(folder, checkpoints.parent)
    assert wait_until(lambda: saved.steps(checkpoints.parent), process)
    assert wait_until(lambda: being_written(checkpoints.parent), process)
    file.touch()
    link.symlink_to(file)
    link.replace(checkpoints)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"error: A checkpoint could not be written to {checkpoints} (Not a directory)" in errors
    assert "Traceback" not in errors
