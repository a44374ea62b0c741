"""The methods of evaluation: one file for each, and a user's own."""

import pathlib

import jax
import numpy as np
import pytest
import small_runs
from PIL import Image

from vgg_jax.errors import UserError
from vgg_jax.evaluation import crop_average, loading, methods
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


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("inference.score_maps(images[:, :64, :64])[:, 0, 0]", "don't sum to 1 for an image"),
        ("jax.nn.softmax(inference.score_maps(images, sizes))", r"of shape \(8, 1, 1, 3\), not"),
    ],
)
def test_a_method_that_returns_no_posteriors_is_refused(own_module, trained, returned, message):
    start, end = OWN.index("    maps ="), OWN.index("UNFLIPPED")
    own_module("mine", f"{OWN[:start]}    return {returned}\n\n{OWN[end:]}")
    images = [np.full((64, 64, 3), 200, np.uint8)] * 8
    with pytest.raises(UserError, match=f"method mine:UNFLIPPED returned .*{message}"):
        loading.load(trained).posteriors(images, method="mine:UNFLIPPED", scales=(64,))


def test_the_places_of_crops_lie_within_the_image():
    with pytest.raises(UserError, match="must be pairs of numbers from 0 to 1"):
        crop_average.method(((0.0, 0.0), (0.5, 1.5)))


@pytest.mark.runs
def test_a_method_of_ones_own_evaluates_a_run(own_module, trained, folder):
    def evaluated():
        done = small_runs.run_process(
            f"--workdir={trained}",
            "--mode=eval",
            "--config.eval.method=mine:UNFLIPPED",
            PYTHONPATH=str(where),
        )
        assert done.returncode == 0, done.stderr
        return done

    where = own_module("mine", OWN)
    done = evaluated()
    assert "mine:UNFLIPPED, Q = 73: top-1 error" in done.stdout
    path = trained / "eval/val-mine@UNFLIPPED-73.npz"
    found = read(path)
    net = loading.load(trained)
    for name, values in zip(found.names, found.values, strict=True):
        map_ = net.score_map(np.asarray(Image.open(folder / "val" / name).convert("RGB")), scale=73)
        expected = jax.nn.softmax(map_.mean((0, 1)))
        np.testing.assert_allclose(values, expected, atol=1e-6)

    # The same name for other code is another method.
    own_module("mine", OWN.replace("softmax(", "softmax(2 * "))
    again = evaluated()
    assert "was made with other method_code; it is made again" in again.stdout
    assert not np.allclose(read(path).values, found.values, atol=1e-3)


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
    done = small_runs.run_python("-c", code)
    assert done.stdout.split() == ["False"], done.stderr
