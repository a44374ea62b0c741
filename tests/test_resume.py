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

STEPS_PER_EPOCH, NUM_EPOCHS = 11, 7


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
        "--config.log_every_steps=4",
        "--config.checkpoint_every_steps=5",
        "--config.eval.method=none",
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
    """Waits until the run has printed its first line: imports and data are then done."""
    for line in process.stdout:
        if "parameters" in line:
            return
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
    expected = {*range(4, total + 1, 4), *range(11, total + 1, 11)}
    assert train == sorted(expected)
    val = [r for r in records(whole) if r["kind"] == "val"]
    assert [r["step"] for r in val] == list(range(11, total + 1, 11))
    assert len({r["learning_rate"] for r in val}) > 2
    assert total in saved.steps(whole)
    losses = [r["loss"] for r in records(whole) if r["kind"] == "train"]
    assert len(set(losses)) == len(losses)


def last_on_disk(workdir):
    return max(saved.steps(workdir), default=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(folder, whole, tmp_path, seed):
    """Kills each of two runs ten times."""
    rng = random.Random(seed)
    kills, reached = 0, []
    while kills < 10:
        process = start(folder, tmp_path)
        wait_for_training(process)
        if rng.random() < 0.8:  # The other kills come while it restores and compiles.
            before = last_on_disk(tmp_path)
            wait_until(lambda: last_on_disk(tmp_path) > before, process)  # noqa: B023
            time.sleep(rng.uniform(0, 0.5))
        kills += process.poll() is None
        end(process, signal.SIGKILL)
        reached.append(last_on_disk(tmp_path))
        if (tmp_path / "result.json").exists():
            assert_same(tmp_path, whole)
            shutil.rmtree(tmp_path)
    assert len(set(reached)) > 2  # The run made progress between kills.
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)


def test_a_finished_run_with_more_epochs_equals_one_that_had_them_from_its_start(
    folder, whole, tmp_path
):
    finish(folder, tmp_path, "--config.num_epochs=2")
    assert saved.steps(tmp_path)[-1] == 2 * STEPS_PER_EPOCH
    process = start(folder, tmp_path)
    wait_for_training(process)
    end(process, signal.SIGKILL)
    assert not (tmp_path / "result.json").exists()
    assert f"goes on at step {last_on_disk(tmp_path)}" in finish(folder, tmp_path)
    assert_same(tmp_path, whole)


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


def test_killed_in_a_checkpoint_being_written(folder, whole, tmp_path):
    def being_written():
        return list((tmp_path / "checkpoints").glob("*tmp*"))

    for _ in range(3):  # Each run first removes what an earlier one left half-written.
        catch(folder, tmp_path, being_written, signal.SIGKILL)
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)
    assert not being_written()


def in_validation(workdir):
    """Returns whether the log ends with an epoch's last step: its validation then runs."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    with contextlib.suppress(ValueError, IndexError):
        last = json.loads(lines[-1])
        return last["kind"] == "train" and last["step"] % STEPS_PER_EPOCH == 0
    return False


def test_killed_in_a_validation(folder, whole, tmp_path):
    catch(folder, tmp_path, lambda: in_validation(tmp_path), signal.SIGKILL)
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)


def test_stopped_in_a_validation_and_killed_where_its_checkpoint_is_replaced(
    folder, whole, tmp_path
):
    errors = catch(folder, tmp_path, lambda: in_validation(tmp_path), signal.SIGTERM)
    step = last_on_disk(tmp_path)
    assert step % STEPS_PER_EPOCH == 0
    assert f"saved at step {step}" in errors
    assert read_json(tmp_path, step)["progress"]["validation_due"]
    aside = tmp_path / "checkpoint_before_validation"
    process = start(folder, tmp_path)
    assert wait_until(lambda: list(aside.glob("*")), process)
    end(process, signal.SIGKILL)
    assert f"goes on at step {step}" in finish(folder, tmp_path)
    assert_same(tmp_path, whole)
    assert not aside.exists()


def test_signals_reach_the_worker_processes_too(folder, whole, tmp_path):
    """Ctrl-C in a terminal signals the whole process group, at any moment of its start.

    So does the terminal when it closes, and Slurm with SIGUSR1.
    """
    more = ("--config.data.num_workers=1",)
    stops = ((0.5, signal.SIGINT), (2, signal.SIGHUP), (1, signal.SIGUSR1), (0, signal.SIGINT))
    for delay, number in stops:
        process = start(folder, tmp_path, *more, process_group=0)
        wait_for_training(process)
        time.sleep(delay)
        if not delay:
            wait_until(lambda: in_validation(tmp_path), process)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == (130 if number == signal.SIGINT else 0), errors
        assert "Traceback" not in errors
    finish(folder, tmp_path, *more)
    assert_same(tmp_path, whole)


def test_sigterm_saves_and_exits_0_within_seconds(folder, whole, tmp_path):
    """Stops a run several times, at any step; its log must be that of an uninterrupted run."""
    rng = random.Random(2)
    stops = within_a_window = 0
    while stops < 3 or not within_a_window:
        process = start(folder, tmp_path)
        wait_for_training(process)
        written = last_on_disk(tmp_path)
        wait_until(lambda: last_on_disk(tmp_path) > written, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)  # Some launchers signal both group and process.
        time.sleep(0.01)
        _, errors = end(process, signal.SIGTERM)
        assert time.monotonic() - before < 20  # On a loaded machine; an idle one takes below 1 s.
        assert process.returncode == 0
        assert "Traceback" not in errors
        step = saved.steps(tmp_path)[-1]
        assert f"saved at step {step}" in errors
        stops += 1
        within_a_window += bool(read_json(tmp_path, step)["progress"]["window"])
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)


@pytest.fixture(scope="session")
def killed_after_two_checkpoints(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("killed") / "run"
    process = start(folder, workdir)
    assert wait_until(lambda: len(saved.steps(workdir)) >= 2, process)
    end(process, signal.SIGKILL)
    return workdir


@pytest.fixture
def killed(killed_after_two_checkpoints, tmp_path):
    """A copy of the workdir of the run that was killed after two checkpoints."""
    return shutil.copytree(killed_after_two_checkpoints, tmp_path / "run")


def test_a_disk_that_fills_up_loses_nothing(folder, whole, killed):
    kept = saved.steps(killed)

    # No file may exceed 60 KB: the system refuses further writes, as on a full disk.
    process = start(folder, killed, prefix=["bash", "-c", 'ulimit -f 60; exec "$@"', "-"])
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 2
    assert "error: A checkpoint could not be written" in errors
    assert f"The last good one is {killed}/checkpoints/{kept[-1]}." in errors
    assert saved.steps(killed) == kept
    assert not (killed / "result.json").exists()
    finish(folder, killed)
    assert_same(killed, whole)


def test_a_folder_that_takes_no_checkpoint_ends_the_run_at_once(folder, tmp_path):
    """A lost mount is like this. Orbax's threads wait ten minutes for files they can't make."""
    checkpoints, file, link = (tmp_path / name for name in ("run/checkpoints", "file", "link"))
    (tmp_path / "kept").mkdir()
    checkpoints.parent.mkdir()
    checkpoints.symlink_to(tmp_path / "kept")
    process = start(folder, checkpoints.parent)
    assert wait_until(lambda: saved.steps(checkpoints.parent), process)
    file.touch()
    link.symlink_to(file)
    link.replace(checkpoints)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"error: A checkpoint could not be written to {checkpoints} (Not a directory)" in errors
    assert "Traceback" not in errors


def test_a_checkpoint_cut_short_is_named_and_the_one_before_goes_on(folder, whole, killed):
    kept = saved.steps(killed)
    damaged = killed / "checkpoints" / str(kept[-1])
    files = [path for path in (damaged / "params").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    process = start(folder, killed)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 2
    assert f"error: The checkpoint {damaged} can't be read" in errors
    assert f"goes on from step {kept[-2]}" in errors
    shutil.rmtree(damaged)
    assert f"goes on at step {kept[-2]}" in finish(folder, killed)
    assert_same(killed, whole)


def test_data_that_changed_is_refused_and_brought_back_goes_on(folder, whole, killed, tmp_path):
    images = shutil.copytree(folder, tmp_path / "images")
    changed = next((images / "train" / "a").iterdir())
    shutil.move(changed, tmp_path)
    process = start(images, killed)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 2
    assert "training images are not those that this run began with" in errors
    shutil.move(tmp_path / changed.name, changed)
    finish(images, killed)
    assert_same(killed, whole)


def test_ctrl_c_saves_and_exits_130(folder, whole, tmp_path):
    process = start(folder, tmp_path)
    wait_until(lambda: saved.steps(tmp_path), process)
    _, errors = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert f"saved at step {saved.steps(tmp_path)[-1]}" in errors
    finish(folder, tmp_path)
    assert_same(tmp_path, whole)
