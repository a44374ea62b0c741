"""launch/gpu.sh: its arguments, and how it goes on. What its steps start has tests of its own."""

import os
import subprocess

import pytest
from small_runs import ROOT


def _gpu_script(*arguments, python="false"):
    return subprocess.run(
        ["launch/gpu.sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHON": python},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give --minutes=N, a whole number."),
        (["--minutes=soon"], "Give --minutes=N, a whole number."),
        (["--minutes=1", "--fast"], "Unknown argument --fast."),
        (["--minutes=1", "--data=nowhere"], "There is no folder nowhere/train."),
        (
            ["--minutes=1", "--steps=eval,evil"],
            "There is no step evil. The steps are train, layers,",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    ended = _gpu_script(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_a_step_that_fails_is_named_and_only_those_are_tried_again(tmp_path):
    first = _gpu_script("--minutes=1", f"--out={tmp_path}")
    assert first.returncode == 1
    names = first.stderr.splitlines()[-1].removeprefix("Failed: ").split(". ")[0].split()
    assert {"train", "eval", "deterministic", "tables"} <= {*names}

    for name in names[1:]:
        (tmp_path / "done" / name).touch()
    second = _gpu_script("--minutes=1", f"--out={tmp_path}")
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("Failed: train. The same command")

    one = _gpu_script("--minutes=1", f"--out={tmp_path}/one", "--steps=loop")
    assert one.stderr.splitlines()[-1].startswith("Failed: loop. The same command")

    third = _gpu_script("--minutes=1", f"--out={tmp_path}", python="true")
    assert third.returncode == 0
    assert third.stdout.splitlines()[-1] == f"All steps are done: see {tmp_path}."


def test_a_measurement_that_fails_beside_another_says_why(tmp_path, monkeypatch):
    commands = {
        "nproc": "echo 6",
        "taskset": 'shift 2; exec "$@"',
        "python": '[[ $* == *--workers=4* ]] || { echo "too few cores"; exit 3; }; echo done',
    }
    for name, lines in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "data/train").mkdir(parents=True)

    ended = _gpu_script(
        *("--minutes=1", f"--out={tmp_path}/out", f"--data={tmp_path}/data", "--steps=workers"),
        python=str(tmp_path / "python"),
    )
    assert ended.returncode == 1
    assert (tmp_path / "out/workers.log").read_text() == "too few cores\ndone\n"
