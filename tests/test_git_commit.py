import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import small_runs

import vgg_jax
from vgg_jax.system import git_commit

PRINT = "from vgg_jax.system import git_commit; print(git_commit.commit())"


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder):
    done = subprocess.run(
        [sys.executable, "-c", PRINT], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_of_the_code_and_of_no_other(tmp_path):
    package = tmp_path / "vgg_jax"
    (package / "system").mkdir(parents=True)
    for name in ("__init__.py", "system/__init__.py", "system/git_commit.py"):
        shutil.copy(pathlib.Path(vgg_jax.__file__).parent / name, package / name)
    assert commit(tmp_path) == ""  # There is no git repository.
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other").touch()
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "--quiet", "--message=other")
    assert commit(tmp_path) == ""  # It is installed in another project's checkout.
    git(tmp_path, "add", "vgg_jax")
    git(tmp_path, "commit", "--quiet", "--message=ours")
    head = git(tmp_path, "rev-parse", "--short=7", "HEAD")
    os.utime(package / "__init__.py", (0, 0))  # git then reads it again, and may write its index.
    index = (tmp_path / ".git/index").read_bytes()
    assert commit(tmp_path) == head
    assert (tmp_path / ".git/index").read_bytes() == index
    (package / "__init__.py").write_text("changed = True\n")
    assert commit(tmp_path) == f"{head}-dirty"


@pytest.mark.parametrize("before", [None, [], ["0000000"]])
def test_a_result_names_the_commits_that_trained_it(folder, trained, tmp_path, run_main, before):
    """Each commit is named once, over resumptions. Early checkpoints name none."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    (workdir / "result.json").unlink()
    path = workdir / "checkpoints/2/run/metadata"
    run = json.loads(path.read_text())
    del run["sealed"]
    ours = [git_commit.commit()] if git_commit.commit() else []
    assert run.pop("commits") == ours
    path.write_text(json.dumps(run if before is None else run | {"commits": before}))
    run_main(*small_runs.one_epoch(folder, workdir, "--config.eval.method=none"))
    result = json.loads((workdir / "result.json").read_text())
    assert result["commits"] == [*(before or []), *ours]
    assert result["train_fingerprint"] == run["train_fingerprint"]
    assert result["val_fingerprint"] == run["val_fingerprint"]
