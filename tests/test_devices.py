"""The devices of this machine, and how many a run gets."""

import dataclasses
import os
import subprocess
import sys

import pytest
from small_runs import ROOT

from launch.backends import devices
from launch.backends.devices import Devices
from vgg_jax.data import workers
from vgg_jax.errors import UserError


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
    assert str(devices.find()) == "GPUs 0, 1"


def test_a_process_is_bound_to_its_devices():
    core = str(min(os.sched_getaffinity(0)))
    bind = f"Devices('core', ('{core}',)).bind()"
    bound = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import os; from launch.backends.devices import Devices; {bind}; "
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


def test_tasks_that_share_a_gpu_share_its_memory():
    four = Devices("gpu", ("0", "1")).shared(2)
    assert four.names == ("0", "1", "0", "1")
    assert dataclasses.replace(four, names=("1",)).environment() == {
        "CUDA_VISIBLE_DEVICES": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450",
        "VGG_JAX_CORES": str(max(1, workers.available_cores() // 4)),
    }
    cores = Devices("core", ("0", "1"))
    assert cores.shared(2) == cores


def test_tasks_on_gpus_share_the_cores(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 16)

    def cores(num_gpus, tasks_per_gpu, num_own):
        shared = Devices("gpu", tuple(map(str, range(num_gpus)))).shared(tasks_per_gpu)
        own = dataclasses.replace(shared, names=shared.names[:num_own])
        return own.environment()["VGG_JAX_CORES"]

    assert cores(1, 1, 1) == "16"
    assert cores(1, 6, 1) == "2"
    assert cores(4, 1, 1) == "4"  # An evaluation, beside those on the other GPUs.
    assert cores(4, 1, 4) == "16"  # A run on all GPUs.
    assert cores(8, 4, 1) == "1"


def test_no_gpu_is_visible(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert devices.find().kind == "core"


@pytest.mark.parametrize(
    ("num_free", "batch_sizes", "multiple", "expected"),
    [
        (8, [256, 256], 1, 8),
        (7, [256, 256], 1, 4),
        (6, [256, 100], 1, 4),
        (6, [256, 100], 4, 4),
        (3, [256, 256], 4, 0),
    ],
)
def test_the_most_devices_of_a_run(num_free, batch_sizes, multiple, expected):
    assert devices.most(num_free, batch_sizes, multiple) == expected


def test_too_few_devices_for_the_fc_kernels():
    devices.check(Devices("gpu", ("0", "1")), 2)
    devices.check(Devices("core", ("0",)), 1)
    for found, wanted in ((Devices("gpu", ("0", "1")), 4), (Devices("core", ("0", "1")), 2)):
        with pytest.raises(UserError, match=f"model_parallel={wanted} needs as many GPUs"):
            devices.check(found, wanted)
