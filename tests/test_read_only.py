"""A finished run on a read-only disk: what can be done with it, and what is said otherwise."""

import shutil
import sys

import mounts
import pytest
import small_runs

from vgg_jax.errors import UserError

pytestmark = pytest.mark.runs

# In a mount namespace of its own, the folder $0 is read-only for one command.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def run(folder, module, *args):
    return run_python(folder, "-m", module, *args)


def run_python(folder, *args):
    return mounts.run(READ_ONLY, folder, sys.executable, *args)


@pytest.fixture(scope="module")
def disk(trained):
    """The folder of a finished run."""
    if not mounts.are_allowed(READ_ONLY, trained.parent, "true"):
        pytest.skip("No folder can be made read-only here: `unshare -rm` isn't allowed.")
    return trained.parent


def test_it_is_shown(disk, trained):
    done = run(disk, "vgg_jax.main", f"--workdir={trained}")
    assert done.returncode == 0, done.stderr
    assert "This run is finished." in done.stdout
    assert "Evaluate it with --mode=eval --out=FOLDER." in done.stdout


def test_it_is_evaluated_where_out_says(disk, trained, tmp_path):
    given = (f"--workdir={trained}", "--mode=eval", "--config.eval.scales=80")
    done = run(disk, "vgg_jax.main", *given)
    assert done.returncode == 2
    assert "Name a folder for the results with --out." in done.stderr
    done = run(disk, "vgg_jax.main", *given, f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "dense, Q = 80: top-1 error" in done.stdout
    for method in ("dense", "multicrop"):
        assert (tmp_path / f"out/eval/val-{method}-80.npz").exists()


def test_out_is_for_evaluations(trained, tmp_path):
    done = small_runs.run_module("vgg_jax.main", f"--workdir={trained}", f"--out={tmp_path}")
    assert (done.returncode, done.stderr) == (2, "error: --out needs --mode=eval.\n")


def test_out_is_not_for_verify(tmp_path, run_main):
    with pytest.raises(UserError, match=r"^--out needs --mode=eval\.$"):
        run_main(f"--workdir={tmp_path}", "--mode=verify", "--out=out")


def test_it_predicts(disk, trained, folder):
    done = run(disk, "vgg_jax.predict", folder / "val/a/0.jpg", f"--workdir={trained}")
    assert done.returncode == 0, done.stderr
    assert "%" in done.stdout


def test_it_is_fused_where_out_says(disk, trained, tmp_path):
    runs = (trained, shutil.copytree(trained, tmp_path / "copy"))
    done = run(disk, "vgg_jax.fuse", *runs)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {disk}/fused can't be written to: ")
    assert done.stderr.endswith("Name a folder for the result with --out.\n")
    done = run(disk, "vgg_jax.fuse", *runs, f"--out={tmp_path}/fused")
    assert done.returncode == 0, done.stderr


def test_what_no_check_foresees_names_the_path(disk):
    file = disk / "file"
    writes = (
        "from vgg_jax.system import command_line\n"
        f"command_line.run(lambda _: open({str(file)!r}, 'w'))"
    )
    done = run_python(disk, "-c", writes)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}: Read-only file system. Choose another folder")
    assert "Traceback" not in done.stderr
