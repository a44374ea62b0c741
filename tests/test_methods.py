"""The methods of evaluation: one list of names, a file for each."""

import pathlib
import subprocess
import sys

import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods

FOLDER = pathlib.Path(methods.__file__).parent


def test_each_single_method_is_the_file_of_its_name():
    singles = {single for name in methods.METHODS for single in methods.singles(name)}
    files = {path.stem for path in FOLDER.glob("[a-z]*.py")} - {"method"}
    assert singles == files
    assert {methods.single(name).name for name in singles} == singles


@pytest.mark.parametrize("name", ["tencrop", "method", "", "Dense"])
def test_a_method_that_there_is_not_is_named(name):
    message = f"method={name!r} must be one of dense, multicrop"
    with pytest.raises(UserError, match=message):
        methods.singles(name)
    with pytest.raises(UserError, match=message):
        methods.single(name)


def test_both_is_no_single_method():
    assert methods.singles("both") == ("dense", "multicrop")
    with pytest.raises(UserError, match="must be one of dense, multicrop"):
        methods.single("both")


def test_names_need_no_jax():
    code = (
        "import sys; from vgg_jax.evaluation import fusion, results, settings, topk, result_key; "
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=small_runs.ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"], done.stderr
