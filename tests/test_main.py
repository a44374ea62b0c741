"""The real entry point, in miniature: from image files to a checkpoint and a result."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
import small_runs
from PIL import Image
from small_runs import ROOT, run_process

from configs import e_256
from vgg_jax.errors import UserError
from vgg_jax.nets import from_config
from vgg_jax.nets.vgg import init_params
from vgg_jax.runs import run_config
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.training import metrics_file

pytestmark = pytest.mark.runs

RUNS = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "base", "mini", "quickstart")
)


def arguments(folder, workdir, name, *more):
    small = ("--config.batch_size=8", "--config.eval.batch_size=8", "--config.num_epochs=1")
    small += ("--config.log_every_steps=1", "--config.eval.method=none")
    return small_runs.arguments(folder, workdir, name, *small, *more)


def last_params(workdir, num_classes=3):
    c = run_config.load(workdir)
    model = from_config.model(c, num_classes)
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        like = jax.device_put(init_params(model, jax.random.key(0)), jax.devices()[0])
        return checkpoints.restore_params(like)


def equal(ours, theirs):
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    )


@pytest.mark.parametrize("name", RUNS)
def test_every_config_trains(folder, tmp_path, run_main, capsys, name):
    workdir = tmp_path / name
    run_main(*arguments(folder, workdir, name, "--config.init_from=none"))
    result = json.loads((workdir / "result.json").read_text())
    assert result["last"]["num_images"] == 9
    assert result["last"]["step"] == 2  # The 17 images make 2 batches of 8.
    steps = metrics_file.read(workdir, "train")
    assert [record["step"] for record in steps] == [1, 2]
    assert all(np.isfinite(record["loss"]) for record in steps)
    with Image.open(workdir / "curves.png") as curves:
        assert curves.size[0] > 500
    assert list((workdir / "tensorboard").iterdir())
    output = capsys.readouterr().out
    assert str(workdir / "checkpoints" / "2") in output
    assert (workdir / "checkpoints" / "2").is_dir()

    run_main(*arguments(folder, workdir, name, "--config.init_from=none"))
    again = capsys.readouterr().out
    assert "finished" in again
    assert again.splitlines()[1:] == output[output.index("\n\n") + 1 :].splitlines()


def test_the_chain_starts_where_the_paper_does(folder, tmp_path, run_main):
    """A comes first, then D from seven layers of A, then D at S = 384 from all of D. At a learning
    rate of nearly zero the parameters stay as they started."""
    still = ("--config.learning_rate=1e-30", "--config.plateau.last_rate=1e-30")
    # With the seed of the run that it starts from, equal shapes would be drawn equal. The step of D
    # with the seed 0 is compiled for other tests too.
    for seed, name in ((1, "a_256"), (0, "d_256"), (1, "d_384")):
        more = (*still, f"--config.seed={seed}")
        run_main(*arguments(folder, tmp_path / f"mini_{name}", name, *more))
    a, d, d_384 = (last_params(tmp_path / f"mini_{name}") for name in ("a_256", "d_256", "d_384"))
    copied = {name for name in d if name in a and equal(a[name]["kernel"], d[name]["kernel"])}
    assert copied == {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"}
    for name in d:
        assert equal(d[name]["kernel"], d_384[name]["kernel"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of runs that several tests start from. The first of them trains a run."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained_d(folder, kept, run_main):
    """A net D on the three classes of `folder`."""
    run_main(*arguments(folder, kept / "d", "d_256", "--config.init_from=none"))
    return kept / "d"


@pytest.fixture
def trained_a(folder, kept, run_main):
    """A net A on the three classes of `folder`."""
    run_main(*arguments(folder, kept / "a", "a_256"))
    return kept / "a"


@pytest.fixture
def more_classes(folder, tmp_path):
    """The images of `folder`, with a fourth class."""
    root = tmp_path / "more"
    for split in ("train", "val"):
        shutil.copytree(folder / split, root / split)
        shutil.copytree(folder / split / "a", root / split / "d")
    return root


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        ("d_256", "all", r"=all_but_fc8 to start with a new FC8, or start from"),
        ("e_256", "preinit", r"First train their net D on these classes, .* and then start from"),
    ],
)
def test_other_classes_need_a_new_fc8(
    more_classes, trained_d, tmp_path, run_main, name, layers, message
):
    more = (f"--config.init_from={trained_d}", f"--config.init_layers={layers}")
    with pytest.raises(UserError, match=message):
        run_main(*arguments(more_classes, tmp_path / "run", name, *more))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("trained_layers", ["all", "fc", "conv5_,fc"])
def test_a_new_fc8_on_other_classes(more_classes, trained_a, tmp_path, run_main, trained_layers):
    run_main(
        *arguments(
            more_classes, tmp_path / "run", "a_256",
            f"--config.init_from={trained_a}", "--config.init_layers=all_but_fc8",
            f"--config.trained_layers={trained_layers}",
        )
    )  # fmt: skip
    before, after = last_params(trained_a, 3), last_params(tmp_path / "run", 4)
    assert after["fc8"]["kernel"].shape[-1] == 4
    unchanged = {name for name in before if equal(before[name], after[name])}
    frozen = {"all": (), "fc": "12345", "conv5_,fc": "1234"}[trained_layers]
    assert unchanged == {name for name in before if name.startswith("conv") and name[4] in frozen}
    for name in before:
        if name != "fc8":  # It took two steps from there.
            np.testing.assert_allclose(before[name]["kernel"], after[name]["kernel"], atol=0.1)


def test_a_missing_start_prints_the_chain_and_touches_no_device(folder, tmp_path):
    # The platform doesn't exist, so that any use of a device would fail with another error.
    process = run_process(
        *arguments(folder, tmp_path / "mini_e_384", "e_384"), JAX_PLATFORMS="nonsense"
    )
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    lines = [line.split()[3] for line in process.stderr.splitlines() if "vgg_jax.main" in line]
    assert lines == ["--config=configs/mini.py:a_256", "--config=configs/mini.py:e_256"]
    assert f"--config.data.dir={folder}" in process.stderr
    assert "--config.init_from=none" in process.stderr
    assert not (tmp_path / "mini_e_384").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.train_scale=32,73", "train_scale"),
        ("--config.num_classes=1000", "num_classes"),
        ("--config.net=F", "A, A-LRN, B"),
    ],
)
def test_impossible_values_touch_no_device(folder, tmp_path, flag, message):
    process = run_process(
        *arguments(folder, tmp_path / "run", "a_256", flag), JAX_PLATFORMS="nonsense"
    )
    assert process.returncode == 2
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_is_named(folder, tmp_path):
    process = run_process(*arguments(folder, tmp_path, "a_256", "--config.learning_rat=1"))
    assert process.returncode != 0
    assert "learning_rat" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_batch_that_does_not_divide_names_one_that_does(folder, tmp_path, run_main):
    with pytest.raises(UserError, match=r"--config\.batch_size=16"):
        run_main(*arguments(folder, tmp_path / "run", "a_256", "--config.batch_size=17"))


def test_a_batch_beyond_the_data_is_refused_and_may_then_be_mended(folder, tmp_path, run_main):
    with pytest.raises(UserError, match="batch_size=24 is more than the 17 training images"):
        run_main(*arguments(folder, tmp_path, "a_256", "--config.batch_size=24"))
    run_config.save(
        e_256.get_config(), tmp_path
    )  # A run that ended without a checkpoint leaves its config.
    run_main(*arguments(folder, tmp_path, "a_256"))
    assert run_config.load(tmp_path).net == "A"


def test_a_workdir_that_cannot_be_made_is_named(folder, tmp_path, run_main):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        run_main(*arguments(folder, tmp_path / "file" / "run", "a_256"))


def test_another_run_is_refused_but_housekeeping_is_not(folder, tmp_path, run_main):
    run_main(*arguments(folder, tmp_path, "a_256"))
    with pytest.raises(UserError, match=r"learning_rate: 0\.01 there, 0\.02 now"):
        run_main(*arguments(folder, tmp_path, "a_256", "--config.learning_rate=0.02"))
    run_main(*arguments(folder, tmp_path, "a_256", "--config.log_every_steps=7"))


def test_a_run_goes_on_on_another_mesh(folder, tmp_path, run_main, capsys):
    run = arguments(folder, tmp_path, "a_256", "--config.num_epochs=2", "--config.dtype=float32")
    with pytest.raises(UserError, match="model_parallel to 1 or 2 or 4 or 8"):
        run_main(*run, "--config.model_parallel=3")
    run_main(*run, "--config.model_parallel=2")
    whole = last_params(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    (tmp_path / "result.json").unlink()
    run_main(*run, "--config.model_parallel=1")
    assert "goes on at step 2" in capsys.readouterr().out
    for ours, theirs in zip(
        jax.tree.leaves(last_params(tmp_path)), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("more", [[], ["--config.log_every_steps=100"]])
def test_what_is_not_finite_is_never_saved(folder, tmp_path, run_main, more):
    overflow = ("--config.learning_rate=1e30", "--config.num_epochs=3", *more)
    with pytest.raises(UserError, match=r"not finite|loss is (nan|inf)") as error:
        run_main(*arguments(folder, tmp_path, "a_256", *overflow))
    assert "If you have set --config.init or --config.input_scale, leave it out." in str(
        error.value
    )
    assert "try a lower --config.learning_rate" in str(error.value)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert np.isfinite(json.loads(line)["loss"])


def test_the_deterministic_flags_reach_xla(folder, tmp_path, run_main, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")  # JAX has read its flags by now.
    # They are set before anything else is done, also before this batch is found to be too large.
    run = arguments(folder, tmp_path / "run", "a_256", "--config.batch_size=24")
    with pytest.raises(UserError, match="batch_size=24 is more than"):
        run_main(*run)
    assert os.environ["XLA_FLAGS"] == "--xla_of_the_user=1"
    with pytest.raises(UserError, match="batch_size=24 is more than"):
        run_main(*run, "--config.deterministic=True")
    expected = "--xla_of_the_user=1 --xla_gpu_deterministic_ops=true"
    assert os.environ["XLA_FLAGS"] == expected


def test_validation_images_can_be_held_out(folder, tmp_path, run_main, capsys):
    run_main(*arguments(folder, tmp_path, "a_256", "--config.data.held_out=5"))
    (classes,) = re.findall("training images of each class: (.+)", capsys.readouterr().out)
    names, counts = zip(*(part.rsplit(" ", 1) for part in classes.split(", ")), strict=True)
    assert names == tuple(sorted(path.name for path in (folder / "train").iterdir()))
    assert sum(map(int, counts)) == len([*(folder / "train").rglob("*.*")]) - 5
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["last"]["num_images"] == 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_workers_end_with_a_killed_run(folder, tmp_path, name):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "vgg_jax.main"),
            *arguments(folder, tmp_path, "a_256", "--config.num_epochs=10000"),
            *("--config.data.num_workers=1", "--config.plateau.patience_epochs=10000"),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,  # The workers hold the pipe's other end.
    )
    deadline = time.monotonic() + 180
    while not (tmp_path / "metrics.jsonl").exists() or not metrics_file.read(tmp_path, "train"):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    process.wait()
    assert process.returncode == (0 if name == "SIGTERM" else -signal.SIGKILL)
    reader = threading.Thread(target=process.stderr.read)  # It ends after the last worker.
    reader.start()
    reader.join(timeout=30)
    assert not reader.is_alive()
    process.stderr.close()
