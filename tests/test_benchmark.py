"""The benchmark on a small run: its errors are those of the evaluation."""

import json
import re
import subprocess
import sys

import pytest
import small_runs


def test_it_prints_the_evaluations_errors_and_that_batches_are_exact(trained, tmp_path):
    out = tmp_path / "methods.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "launch.benchmark",
            "methods",
            f"--workdir={trained}",
            "--rounds=1",
            f"--out={out}",
        ],
        cwd=small_runs.ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=small_runs.environment(),
    )
    assert done.returncode == 0, done.stderr
    for method in ("dense", "multicrop", "both"):
        ours = json.loads((trained / f"eval/val-{method}-73.json").read_text())
        (row,) = re.findall(rf"^\| {method} \| ([\d.]+) \(", done.stdout, re.MULTILINE)
        assert float(row) == pytest.approx(ours["top1_error"], abs=0.006)
    assert "| both - dense |" in done.stdout
    (largest,) = re.findall(r"largest difference of a posterior (\S+)", done.stdout)
    assert float(largest) < 1e-5
