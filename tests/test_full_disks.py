"""Full disks and shared memory that is too small: one error that names the path and what to do."""

import re
import sys

import mounts
import pytest
import small_runs

pytestmark = pytest.mark.runs

# In a mount namespace of its own, the folder $0 is a small disk for one command. $1 is its size; $2
# is what is done before the disk is filled.
SMALL = (
    'mount -t tmpfs -o size="$1" tmpfs "$0" && eval "$2" && cat /dev/zero > "$0/full" 2>&-; '
    'shift 2; exec "$@"'
)
SHARED = 'mount -t tmpfs -o size="$1" tmpfs "$0" && shift && exec "$@"'


@pytest.fixture(autouse=True)
def _disks_can_be_mounted(tmp_path):
    if not mounts.are_allowed(SHARED, tmp_path, "4k", "true"):
        pytest.skip("No small disk can be mounted here: `unshare -rm` isn't allowed.")


def main(*flags):
    return (sys.executable, "-m", "vgg_jax.main", *flags)


def error(done):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.split("\n") if "error: " in line)
    assert line.startswith("error: "), "It must not stand behind a bar."
    return line


def test_a_full_cache_of_scans(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    flags = small_runs.one_epoch(folder, tmp_path / "run", f"--config.data.cache_dir={cache}")
    done = mounts.run(SMALL, cache, "4k", 'mkdir "$0/scans"', *main(*flags))
    assert error(done).startswith(f"error: {cache}/scans/")
    assert error(done).endswith(
        ".json can't be written (No space left on device). Free some space; the same command then "
        "goes on."
    )


def test_a_full_cache_of_the_embedded_set(tmp_path):
    flags = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run")
    cache = f"--config.data.cache_dir={tmp_path}"
    done = mounts.run(SMALL, tmp_path, "8k", "true", *main(*flags, cache))
    assert str(tmp_path) in error(done)
    assert "space" in error(done)


def test_a_full_workdir_in_an_evaluation(trained, tmp_path):
    before = f'cp -r "{trained}" "$0/run" && rm -r "$0/run/eval"'
    flags = ("--mode=eval", f"--workdir={tmp_path}/run", "--config.eval.method=dense")
    done = mounts.run(SMALL, tmp_path, "2m", before, *main(*flags))
    assert error(done).startswith(f"error: {tmp_path}/run/eval")
    assert "No space left on device" in error(done)


def test_a_full_workdir_before_a_run(folder, tmp_path):
    flags = small_runs.one_epoch(folder, tmp_path / "run")
    done = mounts.run(SMALL, tmp_path, "8k", 'mkdir "$0/run"', *main(*flags))
    assert re.match(
        rf"error: {tmp_path}/run/\.training-writer(\.\d+)? can't be written \(No space left on "
        r"device\)\. Free some space; the same command then goes on\.",
        error(done),
    )


def test_checkpoints_that_cannot_be_written(folder, tmp_path):
    """An array that can't be written ends a checkpoint; those of the others print nothing."""
    flags = small_runs.one_epoch(folder, tmp_path / "run")
    done = mounts.run('ulimit -f 32 && exec "$@"', tmp_path, *main(*flags))
    assert error(done).startswith("error: A checkpoint could not be written to ")


@pytest.mark.parametrize("size", ["64k", "200k"])
def test_shared_memory_that_is_too_small(folder, tmp_path, size):
    more = ("--config.data.num_workers=1", "--config.log_every_steps=1")
    flags = small_runs.one_epoch(folder, tmp_path / "run", *more)
    line = error(mounts.run(SHARED, "/dev/shm", size, *main(*flags)))
    for named in ("hared memory", "/dev/shm has 0.", "--shm-size", "data.num_workers=0"):
        assert named in line
