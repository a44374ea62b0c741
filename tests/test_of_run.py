"""A run's posteriors and images, from its workdir alone."""

import shutil

import numpy as np
import pytest
import small_runs
from PIL import Image

import vgg_jax
from vgg_jax import verify
from vgg_jax.errors import UserError
from vgg_jax.evaluation import of_run
from vgg_jax.runs import run_config


def test_posteriors_are_read_or_computed_and_kept(trained, tmp_path):
    read = of_run.posteriors(trained, method="dense")
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "eval")
    computed = of_run.posteriors(workdir, method="both")
    assert sorted(path.name for path in workdir.glob("eval/*.npz")) == [
        "val-dense-73.npz",
        "val-multicrop-73.npz",
    ]
    assert computed.names == read.names
    dense = of_run.posteriors(workdir)
    np.testing.assert_allclose(dense.values, read.values, atol=1e-6)
    of_run.posteriors(workdir, checkpoint="best")
    assert (workdir / "eval/val-dense-73-best.npz").exists()


def test_images_are_in_the_order_of_the_posteriors(trained, folder):
    posteriors = of_run.posteriors(trained)
    images = of_run.images(trained, posteriors)
    for index, name in enumerate(posteriors.names):
        with Image.open(folder / "val" / name) as expected:
            np.testing.assert_array_equal(images(index), expected.convert("RGB"))


def test_other_images_are_refused(trained, tmp_path):
    posteriors = of_run.posteriors(trained)
    changed = type(posteriors)(
        posteriors.names[::-1],
        posteriors.labels[::-1].copy(),
        posteriors.class_names,
        posteriors.values[::-1].copy(),
        posteriors.made_by,
    )
    with pytest.raises(UserError, match=r"not those that .* was evaluated"):
        of_run.images(trained, changed)
    with pytest.raises(UserError, match=f"no run in {tmp_path}"):
        of_run.posteriors(tmp_path)


def test_images_that_are_gone_are_named_with_the_file_that_says_where_they_were(trained, tmp_path):
    c = run_config.load(trained)
    c.data.dir = str(tmp_path / "gone")
    run_config.save(c, tmp_path / "run")
    with pytest.raises(UserError, match=r"no folder .*/gone\. .*config.json say where they were"):
        of_run.posteriors(tmp_path / "run")


@pytest.mark.parametrize("inside", ["checkpoints", "checkpoints/90", "config.json", "eval"])
def test_a_path_inside_a_run_is_answered_with_the_run(trained, inside):
    for opens in (vgg_jax.load, run_config.existing, verify.verify):
        with pytest.raises(UserError, match=rf"no .*run in .*[Gg]ive ({trained}|that)") as caught:
            opens(trained / inside)
        assert str(trained) in str(caught.value).replace(str(trained / inside), "")


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("checkpoint='latest'", "error: checkpoint='latest' must be one of last, best."),
        ("checkpoint=90", "error: checkpoint=90 must be one of last, best."),
        ("dtype='float16'", "error: dtype='float16' must be one of "),
        ("pooling='max'", "error: pooling='max' must be one of floor, ceil."),
    ],
)
def test_a_choice_that_there_is_not_is_refused(trained, choice, says):
    """Another process loads it, because annotations aren't checked there."""
    code = f"lambda _: vgg_jax.load({str(trained)!r}, {choice})"
    done = small_runs.run_python(
        "-c", f"import vgg_jax\nfrom vgg_jax.system import command_line\ncommand_line.run({code})"
    )
    assert says in done.stderr
