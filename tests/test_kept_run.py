"""The workdir of an earlier version's run, which today's code opens, resumes and reports.

run_of_8a2cc6b.zip holds the workdir and its images. It was made at commit 8a2cc6b, with JAX 0.10.2
on a CPU, by

    python -m vgg_jax.main --config=configs/mini.py:a_256 --workdir=run \
        --config.data.name=folder --config.data.dir=images --config.data.cache_dir=cache \
        --config.width=0.015625 --config.batch_size=8 --config.eval.batch_size=8 \
        --config.num_epochs=10 --config.plateau.patience_epochs=20 \
        --config.log_every_steps=2 --config.eval.method=both
"""

import json
import pathlib
import shutil
import zipfile

import jax
import numpy as np
import pytest
import saved
from PIL import Image

import vgg_jax
from launch.plan.paper import Part, Result
from launch.plan.sweep_spec import Sweep
from launch.report import reading
from vgg_jax import base_config
from vgg_jax.data import jpeg, resample
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config

ARCHIVE = pathlib.Path(__file__).with_name("run_of_8a2cc6b.zip")
METHODS = ("dense", "multicrop")
# These flags define the run, together with its config file.
GIVEN = (
    "--config.data.name=folder",
    "--config.width=0.015625",
    "--config.batch_size=8",
    "--config.num_epochs=10",
    "--config.plateau.patience_epochs=20",
)


@pytest.fixture
def kept(tmp_path):
    """The folder that holds the run's workdir, run/, and its images, images/."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def tomorrows_key(monkeypatch):
    """Adds keys that the run was saved without, whose defaults are what the code did then."""
    today = base_config.get_config

    def tomorrow():
        c = today()
        with c.unlocked():
            c.label_smoothing = 0.0
            c.data.grayscale = False
        return c

    monkeypatch.setattr(base_config, "get_config", tomorrow)


def here(kept, *more):
    """Returns flags that say where the workdir and its images lie now, and nothing of the run."""
    return [
        f"--workdir={kept / 'run'}",
        f"--config.data.dir={kept / 'images'}",
        f"--config.data.cache_dir={kept / 'cache'}",
        *more,
    ]


def values(kept, method):
    with np.load(kept / f"run/eval/val-{method}-73.npz") as archive:
        return archive["values"]


def photos(kept):
    paths = sorted((kept / "images/val").rglob("*.jpg"))
    return [np.asarray(Image.open(path)) for path in paths]


@pytest.mark.usefixtures("tomorrows_key")
@pytest.mark.parametrize("method", METHODS)
def test_its_net_gives_the_posteriors_that_it_gave(kept, method):
    net = vgg_jax.load(kept / "run")
    assert net.class_names == ("a", "b", "c")
    ours = net.posteriors(photos(kept), method=method)
    np.testing.assert_allclose(ours, values(kept, method), atol=1e-6)


@pytest.mark.usefixtures("tomorrows_key")
def test_it_is_evaluated_by_its_workdir_alone(kept, run_main, capsys):
    before = {method: values(kept, method) for method in METHODS}
    for method in METHODS:
        (kept / f"run/eval/val-{method}-73.npz").unlink()
    results = {path.name: path.read_text() for path in (kept / "run/eval").glob("*.json")}
    run_main(*here(kept, "--mode=eval"))
    assert "both, Q = 73: top-1 error 66.67%" in capsys.readouterr().out
    for method in METHODS:
        np.testing.assert_allclose(values(kept, method), before[method], atol=1e-6)
    for name, text in results.items():
        then, now = (json.loads(t) for t in (text, (kept / "run/eval" / name).read_text()))
        assert then["top1_error"] == now["top1_error"]


def resampled_as_then(image, box, side):
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


@pytest.mark.usefixtures("tomorrows_key")
def test_it_goes_on_with_tomorrows_keys_and_ends_as_it_did(kept, run_main, monkeypatch):
    # Pillow resampled the crops of whole images then, with other roundings. With today's, the run
    # ends at a loss of 1.0930 instead of 1.0929.
    monkeypatch.setattr(jpeg, "is_jpeg", lambda data: False)
    monkeypatch.setattr(resample, "square", resampled_as_then)
    then = json.loads((kept / "run/result.json").read_text())
    params, momentum = saved.arrays(kept / "run")
    (kept / "run/result.json").unlink()
    shutil.rmtree(kept / "run/checkpoints/20")
    run_main(*here(kept, "--config.eval.method=none"))
    now = json.loads((kept / "run/result.json").read_text())
    assert now["last"]["step"] == then["last"]["step"] == 20
    assert now["last"]["top1_error"] == then["last"]["top1_error"]
    assert now["last"]["loss"] == pytest.approx(then["last"]["loss"], abs=1e-5)
    ours = saved.arrays(kept / "run")
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves([params, momentum]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert run_config.load(kept / "run").label_smoothing == 0.0


@pytest.mark.usefixtures("tomorrows_key")
def test_it_is_the_run_of_its_config_file_with_tomorrows_keys(kept, run_main, capsys):
    run_main("--config=configs/mini.py:a_256", *here(kept, "--config.eval.method=none", *GIVEN))
    assert capsys.readouterr().out.startswith("This run is finished.\n")


@pytest.mark.usefixtures("tomorrows_key")
def test_another_value_of_tomorrows_key_is_another_run(kept):
    c = run_config.load(kept / "run")
    run_config.refuse_other_run(c, kept / "run")
    c.label_smoothing = 0.1
    with pytest.raises(UserError, match=r"label_smoothing: 0\.0 there, 0\.1 now"):
        run_config.refuse_other_run(c, kept / "run")


@pytest.mark.usefixtures("tomorrows_key")
def test_it_is_reported_with_tomorrows_keys(kept):
    (kept / "run").rename(kept / "mini_a_256")
    sweep = Sweep(kept, mini=True, data=str(kept / "images"), overrides=GIVEN[1:])
    found = reading.read(sweep)
    result = Result((Part("a_256", (256,)),))
    assert found.lacking.get((result, 0)) is None
    assert found.error(result, 1).mean == pytest.approx(200 / 3)
