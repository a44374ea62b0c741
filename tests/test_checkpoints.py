import contextlib
import gc
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import saved
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.nets import sharding
from vgg_jax.nets.vgg import VGG
from vgg_jax.runs.checkpoints import Checkpoints, SavedRun
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.state import abstract_state, init_state
from vgg_jax.training.optimiser import sgd

PARAMS = {"fc8": {"kernel": jnp.arange(6.0).reshape(1, 1, 2, 3), "bias": jnp.ones(3)}}

# Prints the bytes that stay in memory for each byte of a checkpoint's arrays.
LOAD = """
import gc, pathlib, sys
import jax
from vgg_jax.runs.checkpoints import Checkpoints

def in_memory():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

like = lambda side: {"a": {"a": jax.ShapeDtypeStruct(
    (side, side), "float32", sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
)}}
gc.disable()
with Checkpoints(pathlib.Path(sys.argv[1]), read_only=True) as checkpoints:
    checkpoints.restore_params(like(3072), 1)  # Compiles what computes the digest.
    gc.collect()
    before = in_memory()
    params = checkpoints.restore_params(like(3072), 1)
    print((in_memory() - before) / params["a"]["a"].nbytes)
"""

# Saves three checkpoints, and ends like a killed process once the first one's record is removed.
KILLED_WHILE_IT_REMOVES = """
import os, pathlib, sys
import jax, jax.numpy as jnp
sys.path.insert(0, "tests")
from test_checkpoints import PARAMS, save
from vgg_jax.nets import sharding
from vgg_jax.runs.state import init_state
from vgg_jax.training.optimiser import sgd

removed = []

def end_after_the_record(event, arguments):
    if removed[-1:] == ["metadata"]:
        os._exit(9)
    if event == "os.remove":
        removed.append(os.path.basename(arguments[0]))

sys.addaudithook(end_after_the_record)
state = sharding.put_replicated(init_state(PARAMS, sgd(0.9, 5e-4)), sharding.make_mesh())
save(pathlib.Path(sys.argv[1]), state, (1, 60.0), (2, 50.0), (3, 40.0))
"""

FACTS = RunFacts(("a", "b", "c"), "train", "val", (120.0, 110.0, 100.0), ("abc1234",))


@pytest.fixture
def state():
    state = init_state(PARAMS, sgd(0.9, 5e-4))
    return sharding.put_replicated(state, sharding.make_mesh())


def save(workdir, state, *steps_and_errors):
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        for at, error in steps_and_errors:
            run = SavedRun(FACTS, {"at": at})
            checkpoints.save(state.replace(step=jnp.int32(at)), run, error)


def test_restored_parameters_are_in_memory_once(tmp_path, state):
    rng = np.random.default_rng(0)
    for step, side in enumerate((8, 3072)):
        params = {"a": {"a": rng.random((side, side), np.float32)}}
        save(tmp_path, state.replace(params=jax.device_put(params, jax.devices()[0])), (step, None))
    done = small_runs.run_python("-c", LOAD, tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.5


def kept(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_the_last_two_and_the_best_are_kept(tmp_path, state):
    save(tmp_path, state, (1, 50.0), (2, 40.0), (3, 45.0), (4, None), (5, None))
    assert kept(tmp_path) == [2, 4, 5]


def test_a_save_waits_until_the_last_one_has_removed_what_is_not_kept(tmp_path, state, monkeypatch):
    move = os.replace
    moves = threading.Event()

    def move_slowly(source, target):
        if Path(target).parent.name == "removed":
            moves.set()
            time.sleep(0.3)
        move(source, target)

    monkeypatch.setattr(os, "replace", move_slowly)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        for step in range(1, 5):
            checkpoints.save(state.replace(step=jnp.int32(step)), SavedRun(FACTS, {}), 50.0 - step)
            if step == 3:
                assert moves.wait(60)
    assert kept(tmp_path) == [3, 4]


def test_a_kill_while_a_checkpoint_is_removed_leaves_no_part_of_it(tmp_path):
    command = [sys.executable, "-c", KILLED_WHILE_IT_REMOVES, str(tmp_path)]
    ended = subprocess.run(command, cwd=small_runs.ROOT, env=small_runs.environment(), check=False)
    assert ended.returncode == 9
    assert (tmp_path / "checkpoints" / "removed" / "1").is_dir()
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        assert checkpoints.last_step == 3
    assert saved.steps(tmp_path) == [2, 3]
    with contextlib.closing(Checkpoints(tmp_path)):
        assert not (tmp_path / "checkpoints" / "removed").exists()


def test_the_best_survives_a_resume(tmp_path, state):
    save(tmp_path, state, (1, 50.0), (2, 40.0), (3, 45.0))
    save(tmp_path, state, (4, None), (5, 42.0), (6, 43.0))
    assert kept(tmp_path) == [2, 5, 6]


def test_of_equal_errors_the_last_is_the_best(tmp_path, state):
    save(tmp_path, state, (1, 40.0), (2, 40.0), (3, 45.0), (4, 45.0))
    assert kept(tmp_path) == [2, 3, 4]


def test_the_last_or_the_best_is_chosen(tmp_path, state):
    save(tmp_path, state, (1, 50.0), (2, 40.0), (3, 45.0), (4, None))
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        assert checkpoints.step_of("last") == 4
        assert checkpoints.step_of("best") == 2
        assert checkpoints.restore_run(2) == SavedRun(FACTS, {"at": 2})


def test_there_is_no_best_before_a_validation(tmp_path, state):
    save(tmp_path, state, (1, None))
    with (
        contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints,
        pytest.raises(UserError, match="no validated checkpoint"),
    ):
        checkpoints.step_of("best")


def test_a_state_comes_back_as_it_was_and_where_it_was(tmp_path, state):
    save(tmp_path, state, (7, 50.0))
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        blank = jax.tree.map(jnp.zeros_like, state)
        blank = sharding.put_replicated(blank, sharding.make_mesh())
        restored = checkpoints.restore(blank)
        assert checkpoints.restore_run() == SavedRun(FACTS, {"at": 7})
    assert int(restored.step) == 7
    for ours, theirs in zip(
        jax.tree.leaves(restored.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert len(ours.sharding.device_set) == 8


@pytest.mark.parametrize(("saved_on", "restored_on"), [((2, 4), (8, 1)), ((1, 1), (1, 8))])
def test_a_state_moves_to_another_mesh(tmp_path, saved_on, restored_on):
    def mesh(data, model_parallel):
        devices = jax.devices()[: data * model_parallel]
        return sharding.make_mesh(devices, model_parallel=model_parallel)

    net, optimiser = VGG("A", num_classes=3, width=1 / 64, crop_px=32), sgd(0.9, 5e-4)
    like, rng = abstract_state(net, optimiser, mesh(*restored_on)), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape, np.float32)), like.params)
    state = init_state(params, optimiser)
    save(tmp_path, sharding.put_state(state, mesh(*saved_on)), (1, None))
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        restored = checkpoints.restore(like)
    for ours, theirs in zip(
        jax.tree.leaves(restored.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    # The step isn't compared: one device can't send it to several hosts; a jitted step places it.
    arrays, places = ((s.params, s.opt_state) for s in (restored, like))
    for ours, theirs in zip(jax.tree.leaves(arrays), jax.tree.leaves(places), strict=True):
        assert ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim)


def test_opening_to_read_warns_of_nothing(tmp_path, caplog):
    (tmp_path / "checkpoints").mkdir()
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)):
        pass
    assert not caplog.records
    logging.getLogger("absl").warning("Something else")
    assert [record.message for record in caplog.records] == ["Something else"]


def test_params_of_no_checkpoint(tmp_path):
    with (
        contextlib.closing(Checkpoints(tmp_path)) as checkpoints,
        pytest.raises(UserError, match="no checkpoint"),
    ):
        checkpoints.restore_params(PARAMS)


@pytest.fixture(scope="module")
def larger_state():
    """A state whose kernel takes a file of its own."""
    values = np.random.default_rng(0).normal(size=(1, 1, 200, 300)).astype(np.float32)
    params = {"fc8": {"kernel": jnp.asarray(values), "bias": jnp.ones(3)}}
    return sharding.put_replicated(init_state(params, sgd(0.9, 5e-4)), sharding.make_mesh())


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory, larger_state):
    """A folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("two_saved")
    save(folder, larger_state, (3, 50.0), (5, 40.0))
    return folder


# Orbax leaves behind a failed coroutine that nothing awaits.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <coroutine object _read_array:"
    "pytest.PytestUnraisableExceptionWarning"
)
# Orbax leaves the coroutines of its other reads unfinished.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("length", [0, 0.5])
@pytest.mark.parametrize(
    "name",
    [
        "params/_METADATA",
        "params/manifest.ocdbt",
        "params/the largest",
        "opt_state/_METADATA",
        "opt_state/manifest.ocdbt",
        "opt_state/d/*",
        "run/metadata",
        "metrics/metrics",
    ],
)
def test_a_checkpoint_cut_short_is_named_and_the_one_before_still_good(
    two_saved, larger_state, tmp_path, name, length
):
    workdir = shutil.copytree(two_saved, tmp_path / "run")
    damaged = workdir / "checkpoints" / "5"
    if name.endswith("largest"):
        files = (damaged / "params").rglob("*")
        path = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
    else:
        (path,) = damaged.glob(name)
    path.write_bytes(path.read_bytes()[: int(length * path.stat().st_size)])

    def read():
        with contextlib.closing(Checkpoints(workdir)) as checkpoints:
            checkpoints.restore_run()
            return checkpoints.restore(larger_state)

    with pytest.raises(UserError, match=r"checkpoints/5 can't be read(.|\n)*goes on from step 3"):
        read()
    shutil.rmtree(damaged)
    assert int(read().step) == 3
    gc.collect()  # The coroutine's error is raised again here, not in a later test.


def test_another_runs_unfinished_checkpoint_is_left_alone(tmp_path, state):
    """A run may start from a run that is saving at that moment."""
    save(tmp_path, state, (1, 50.0))
    unfinished = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as checkpoints:
        assert checkpoints.last_step == 1
        checkpoints.restore_params(state.params)
    assert unfinished.is_dir()


def test_a_step_saved_before_its_validation_is_saved_again_after_it(tmp_path, state):
    save(tmp_path, state, (1, 50.0), (2, None))
    save(tmp_path, state, (2, 40.0), (3, 45.0), (4, 46.0))
    assert kept(tmp_path) == [2, 3, 4]
