"""The methods of evaluation: one file for each, and a user's own."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import small_runs
from PIL import Image

from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods, trained_net
from vgg_jax.evaluation.method import Method
from vgg_jax.evaluation.posteriors import read

FOLDER = pathlib.Path(methods.__file__).parent

# A user's own method, as vgg_jax/README.md describes it. It doesn't flip the images.
OWN = """
import jax
from vgg_jax.evaluation.method import Method
from vgg_jax.evaluation.methods.dense import pool_score_map

def posteriors(inference, images, sizes):
    maps = inference.score_maps(images, sizes)
    return jax.nn.softmax(pool_score_map(maps, inference.model.score_cells(sizes)))

UNFLIPPED = Method(
    image_px=lambda height, width, crop_px: height * width,
    fills_evenly=True,
    compute=lambda inference, images, sizes: inference.call(posteriors, images, sizes),
)
NUMBER = 3
"""


def test_each_method_is_the_file_of_its_name():
    files = {path.stem for path in FOLDER.glob("[a-z]*.py")}
    assert {single for name in methods.names() for single in methods.singles(name)} == files
    assert all(isinstance(methods.single(name), Method) for name in files)


@pytest.mark.parametrize("name", ["absent", "method", "", "Dense", "dense:3"])
def test_a_method_that_there_is_not_is_refused(name):
    *single, both = methods.names()
    assert both == "both"
    message = f"='{name}' must be one of {', '.join(single)},"
    with pytest.raises(UserError, match=f"^--method{message} both, MODULE:NAME"):
        methods.check("--method", name)
    with pytest.raises(UserError, match=f"^method{message} MODULE:NAME"):
        methods.single(name)


def test_both_is_no_single_method():
    assert methods.singles("both") == ("dense", "multicrop")
    with pytest.raises(UserError, match=r"^method='both' must be one of"):
        methods.single("both")


def test_what_is_named_as_a_method_and_is_none_is_refused(own_module):
    own_module("mine", OWN)
    with pytest.raises(
        UserError, match=r"^eval.method=mine:NUMBER must be a Method of .*, not 3\.$"
    ):
        methods.check("eval.method", "mine:NUMBER")


@pytest.mark.runs
def test_a_method_of_ones_own_evaluates_a_run(own_module, trained, folder):
    done = small_runs.run_process(
        f"--workdir={trained}",
        "--mode=eval",
        "--config.eval.method=mine:UNFLIPPED",
        PYTHONPATH=str(own_module("mine", OWN)),
    )

    assert done.returncode == 0, done.stderr
    assert "mine:UNFLIPPED, Q = 73: top-1 error" in done.stdout
    found = read(trained / "eval/val-mine_UNFLIPPED-73.npz")
    net = trained_net.load(trained)
    for name, values in zip(found.names, found.values, strict=True):
        map_ = net.score_map(np.asarray(Image.open(folder / "val" / name).convert("RGB")), scale=73)
        expected = jax.nn.softmax(map_.mean((0, 1)))
        np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.runs
def test_a_method_of_ones_own_that_is_not_there_is_refused_before_training(folder, tmp_path):
    done = small_runs.run_process(
        *small_runs.one_epoch(folder, tmp_path / "run", "--config.eval.method=absent:METHOD")
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: eval.method=absent:METHOD: there is no module absent.")
    assert not (tmp_path / "run").exists()


def test_names_need_no_jax():
    code = (
        "import sys; from vgg_jax.evaluation import fusion, results, settings, topk, result_key; "
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=small_runs.ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"], done.stderr
