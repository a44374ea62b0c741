"""The number of worker processes follows from the cores and the work."""

import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vgg_jax.data import crops, workers
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError
from vgg_jax.system import launched_by


@pytest.mark.parametrize(
    ("num_cores", "work_s", "count"),
    [
        (1, 1e6, 0),
        (2, 1e6, 0),
        (3, 1e6, 3),
        (4, 1e6, 4),
        (16, 1e6, 16),
        (192, 1e6, 16),
        (3, 17, 0),
        (3, 19, 3),
        (16, 6, 0),
        (16, 8, 16),
        (16, float("inf"), 16),
        (192, 0, 0),
    ],
)
def test_workers_are_as_many_as_cores_and_work_are_worth(num_cores, work_s, count):
    assert workers.worth(num_cores, work_s) == count


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", None), ("max", None), ("200000 100000\n", 2), ("150000 100000", 2)],
)
def test_a_container_may_have_fewer_cores_than_its_host(limit, cores):
    assert workers.allowed(limit) == cores


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 1),
        ({"JAX_COORDINATOR_ADDRESS": "localhost:99", "JAX_NUM_PROCESSES": "4"}, 4),
        ({"JAX_COORDINATOR_ADDRESS": "node1:99", "JAX_NUM_PROCESSES": "4"}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, 8),
        ({"SLURM_STEP_NUM_TASKS": "4"}, 1),
    ],
)
def test_the_processes_of_a_host_share_its_cores(environment, count):
    assert launched_by.processes_here(environment) == count


def test_the_cores_are_those_that_this_process_may_use():
    core = str(min(os.sched_getaffinity(0)))
    code = (
        f"import os; os.sched_setaffinity(0, [{core}]); "
        "from vgg_jax.data import workers; print(workers.available_cores())"
    )
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert int(found.stdout) == 1


def test_a_sweep_gives_its_tasks_a_share_of_the_cores(monkeypatch):
    all_cores = workers.available_cores()
    for share in (1, 10_000):
        monkeypatch.setenv("VGG_JAX_CORES", f"{share}")
        assert workers.available_cores() == min(share, all_cores)
    for share in ("0", "two", ""):
        monkeypatch.setenv("VGG_JAX_CORES", share)
        with pytest.raises(UserError, match=f"VGG_JAX_CORES={share} must be the number of cores"):
            workers.available_cores()


@pytest.fixture
def source(tmp_path):
    for label in ("a", "b"):
        folder = tmp_path / "train" / label
        folder.mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        for index in range(3):
            Image.fromarray(noise).save(folder / f"{index}.png")
        (folder / "damaged.png").write_bytes(b"")
    return FolderSource(DataSpec("folder", str(tmp_path), "train", "train", cache_dir=""), "train")


def test_a_small_set_is_not_worth_processes(source):
    work_s = workers.decoding_s(source)
    assert workers.worth(64, work_s) == 0
    assert workers.worth(64, 100_000 * work_s) == 16


def test_a_number_is_taken_as_it_is(source):
    assert [workers.resolved(number, source) for number in (0, 3)] == [0, 3]


def test_little_shared_memory_means_threads(source, monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    monkeypatch.setattr(workers, "decoding_s", lambda source: 1e6)
    usage = shutil.disk_usage("/dev/shm")
    for total, expected in ((2**30, 16), (2**26, 0)):
        there = usage._replace(total=total)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, there=there: there)
        assert workers.of_long_work() == workers.resolved(workers.AUTO, source) == expected
        assert workers.resolved(3, source) == 3


def test_threads_start_no_processes(source):
    batching = crops.Batching(2, 32, num_workers=workers.resolved(workers.AUTO, source))
    next(crops.val_batches(source, batching, val_scale=32))
    assert multiprocessing.active_children() == []
