"""The devices of this machine, and their shares."""

import os
import subprocess
import sys

import pytest
from small_runs import ROOT

from launch import devices
from launch.devices import Devices


def test_cores_where_jax_shall_use_the_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = devices.find()
    assert found.kind == "core"
    assert {int(name) for name in found.names} == os.sched_getaffinity(0)


def test_gpus_that_are_visible(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8932f937")
    assert devices.find() == Devices("gpu", ("2", "GPU-8932f937"))


def test_gpus_that_the_driver_lists(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-1)'\necho 'GPU 1: H200'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert devices.find() == Devices("gpu", ("0", "1"))


def test_a_process_is_bound_to_its_devices():
    core = str(min(os.sched_getaffinity(0)))
    bind = f"Devices('core', ('{core}',)).bind()"
    bound = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import os; from launch.devices import Devices; {bind}; "
            "print(os.sched_getaffinity(0))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert bound.stdout.strip() == f"{{{core}}}"
    assert Devices("core", (core,)).environment() == {}
    assert Devices("gpu", ("0", "3")).environment() == {"CUDA_VISIBLE_DEVICES": "0,3"}


@pytest.mark.parametrize(
    ("num_free", "num_ready", "batch_sizes", "expected"),
    [
        (8, 1, [256, 256], 8),
        (8, 2, [256, 256], 4),
        (8, 3, [256, 256], 2),
        (8, 9, [256, 256], 1),
        (6, 1, [256, 100], 4),
        (7, 1, [], 7),
    ],
)
def test_shares(num_free, num_ready, batch_sizes, expected):
    assert devices.share(["x"] * num_free, num_ready, batch_sizes) == expected
