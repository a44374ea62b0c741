"""The mean and the input scale with which a run begins."""

import foreign_arrays
import pytest

from configs import a_256, mini
from vgg_jax.errors import UserError
from vgg_jax.runs import chain, imported, net_input, run_config
from vgg_jax.runs.facts import RunFacts

THEIRS, DATA = (100.0, 110.5, 120.0), (80.0, 90.0, 101.0)
ILSVRC = (123.68, 116.779, 103.939)


@pytest.fixture
def source(tmp_path):
    """The workdir of a run with the mean THEIRS and an input scale of 1."""
    c = mini.get_config("a_256")
    c.width, c.input_scale = 1 / 64, 1.0
    params = foreign_arrays.random_params("A", width=1 / 64, num_classes=2)
    facts = RunFacts(("a", "b"), "", "", THEIRS, ())
    imported.write(c, tmp_path / "source", params, facts, {"fc_layers": True})
    return tmp_path / "source"


def of_run(tmp_path, *, init_from="none", mean=("auto",), is_ilsvrc=False, input_scale=0.0):
    c = mini.get_config("a_256")
    c.width, c.init_from, c.input_scale = 1 / 64, str(init_from), input_scale
    c.data.mean_rgb = mean
    chain.check(c, tmp_path / "run")
    return net_input.of_new_run(c, tmp_path / "run", DATA, is_ilsvrc=is_ilsvrc)


def test_a_run_keeps_the_input_of_the_run_it_starts_from(tmp_path, source):
    found = of_run(tmp_path, init_from=source)
    assert (found.mean_rgb, found.input_scale, found.warning) == (THEIRS, 1.0, "")
    assert found.origin == f"starts from {source}, with the mean RGB 100.0,110.5,120.0 of that run"


@pytest.mark.parametrize(
    ("mean", "expected", "whose"),
    [((), DATA, "of the training images"), ((1, 2.5, 3), (1.0, 2.5, 3.0), "of data.mean_rgb")],
)
def test_another_mean_that_is_given_is_taken_with_a_warning(
    tmp_path, source, mean, expected, whose
):
    found = of_run(tmp_path, init_from=source, mean=mean)
    assert found.mean_rgb == expected
    assert found.origin.endswith(whose)
    assert found.warning == (
        f"Warning: the layers of {source} were trained with the mean 100.0,110.5,120.0. "
        "--config.data.mean_rgb=auto keeps it."
    )
    assert not of_run(tmp_path, init_from=source, mean=THEIRS).warning


@pytest.mark.parametrize(
    ("is_ilsvrc", "mean", "expected", "whose"),
    [
        (False, ("auto",), DATA, "of the training images"),
        (True, ("auto",), ILSVRC, "of ILSVRC"),
        (True, (), DATA, "of the training images"),
    ],
)
def test_without_such_a_run_the_mean_is_that_of_the_images(
    tmp_path, is_ilsvrc, mean, expected, whose
):
    found = of_run(tmp_path, is_ilsvrc=is_ilsvrc, mean=mean)
    assert (found.mean_rgb, found.input_scale) == (expected, 0.0)
    assert found.origin.startswith("starts from random parameters, with")
    assert found.origin.endswith(whose)


def test_another_input_scale_that_is_given_is_refused(tmp_path, source):
    with pytest.raises(UserError, match=r"input_scale is 1\.0 there and 0\.5 here"):
        of_run(tmp_path, init_from=source, input_scale=0.5)


@pytest.mark.parametrize(("saved", "same"), [((), True), (ILSVRC, True), ((1.0, 2.0, 3.0), False)])
def test_a_run_of_before_auto_is_that_of_todays_config(tmp_path, saved, same):
    c = a_256.get_config()
    c.data.mean_rgb = saved
    run_config.save(c, tmp_path)
    assert run_config.load(tmp_path).data.mean_rgb == saved
    assert (run_config.differences(a_256.get_config(), tmp_path) == "") is same
    c.data.mean_rgb = (5.0, 6.0, 7.0)
    assert "data.mean_rgb" in run_config.differences(c, tmp_path)


def test_a_run_keeps_the_input_scale_that_it_took_over(tmp_path):
    c = mini.get_config("d_256")
    c.input_scale = 1.0
    run_config.save(c, tmp_path)
    assert not run_config.differences(mini.get_config("d_256"), tmp_path)
    c.input_scale = 0.5
    assert "input_scale: 1.0 there, 0.5 now" in run_config.differences(c, tmp_path)


def test_both_names_of_imagenet_are_the_same_run(tmp_path):
    c = a_256.get_config()
    assert c.data.name == "imagenet"
    c.data.name = "imagenet2012"
    run_config.save(c, tmp_path)
    assert run_config.differences(a_256.get_config(), tmp_path) == ""
    run_config.refuse_other_than({"data.name": "imagenet2012"}, tmp_path)
    assert run_config.shared(c) == run_config.shared(a_256.get_config())
    c.data.name = "imagenet_v2"
    assert "data.name: imagenet there, imagenet_v2 now" in run_config.differences(c, tmp_path)
