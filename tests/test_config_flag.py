"""Config files of a user's own that can't be loaded: one error that names the file and the line."""

import re
import sys

import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.system import config_flag

RETURNS = "def get_config(*_):\n    return "
BROKEN = {
    "syntax": (
        "x = 1\ndef get_config(:\n",
        r"mine.py is not valid Python \(line 2: invalid syntax",
    ),
    "null bytes": ("x = '\0'", r"mine.py is not valid Python \(line None: .*null bytes"),
    "failing": ("\n\n1 / 0\n", r"mine.py fails in line 3 \(ZeroDivisionError: division by zero"),
    "failing later": (f"{RETURNS}1 / 0", r"mine.py fails in line 2 \(ZeroDivisionError"),
    "type error": (f"{RETURNS}1 + ''", r"mine.py fails in line 2 \(TypeError: unsupported"),
    "value error": (f"{RETURNS}int('')", r"mine.py fails in line 2 \(ValueError: invalid literal"),
    "its imports": ("import nosuch", r"mine.py fails in line 1 \(ModuleNotFoundError: .*'nosuch'"),
    "exit": ("import sys\nsys.exit()", r"mine.py fails in line 2 \(SystemExit\)"),
    "other keys": (
        "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'seed': 1})",
        r"mine.py returned a config without batch_size, .* more\. Let it return",
    ),
    "no function": ("x = 1", r"mine.py has no function get_config\(\)"),
    "a string": (f"{RETURNS}'hi'", r"mine.py returned 'hi', which is no ConfigDict"),
    "nothing": (f"{RETURNS}None", r"mine.py returned None, which is no ConfigDict"),
    "a dict": (f"{RETURNS}{{'seed': 1}}", r"mine.py returned {'seed': 1}, which is no ConfigDict"),
}


@pytest.fixture(autouse=True)
def _nothing_was_loaded_before(monkeypatch):
    """ml_collections loads each file into the module of the one before it."""
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.mark.parametrize("override", [[], ["--config.seed=1"]], ids=["plain", "override"])
@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_config_file_that_is_none(tmp_path, text, message, override):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        config_flag.parse_config([f"--config={path}", *override])
    assert str(path) in str(caught.value)
    assert re.search(r"Traceback|--config", str(caught.value)) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("configs/quickstar.py", "configs/quickstart.py"),
        ("quickstart", "configs/quickstart.py"),
        ("d256", "configs/d_256.py or configs/e_256.py"),
    ],
)
def test_a_file_that_is_not_there(name, meant, monkeypatch):
    monkeypatch.chdir(small_runs.ROOT)
    message = (
        rf"There is no config {name}\. Did you mean {meant}\? There are a_256, .* in configs\."
    )
    with pytest.raises(UserError, match=message):
        config_flag.parse_config([f"--config={name}", "--config.seed=1"])


def test_the_saved_config_of_a_run_is_no_config_file(trained):
    with pytest.raises(UserError, match=f"give --workdir={trained} without --config"):
        config_flag.parse_config([f"--config={trained}/config.json", "--config.seed=1"])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("learning_rat", "Did you mean learning_rate?"),
        ("data.nam", "Did you mean data.name?"),
        ("dir", "Did you mean data.dir?"),
        ("warmup_epochs", "Did you mean cosine.warmup_epochs or constant.warmup_epochs?"),
        ("xyzzy", "`python"),
        ("evall.method", "Did you mean eval.method?"),
        ("plateua.patience_epochs", "Did you mean plateau.patience_epochs?"),
        ("seed.x", "Did you mean seed?"),
        ("data.dir.x", "Did you mean data.dir?"),
        ("eval.scales.x", "Did you mean eval.scales or "),
    ],
)
def test_a_key_that_is_misspelt(key, meant):
    arguments = [f"--config={small_runs.ROOT}/configs/a_256.py", "--config.seed=1"]
    with pytest.raises(UserError) as caught:
        config_flag.parse_config([*arguments, f"--config.{key}=1"])
    assert str(caught.value).startswith(f"The config has no key {key}. {meant}")


def test_a_value_that_is_neither_true_nor_false():
    message = r"^--config\.remat=maybe: neither true nor false\.$"
    with pytest.raises(UserError, match=message):
        config_flag.parse_config(
            [f"--config={small_runs.ROOT}/configs/a_256.py", "--config.remat=maybe"]
        )


def test_what_a_config_file_refuses_itself(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        f"from vgg_jax.errors import UserError\n{RETURNS}1\nraise UserError('Not now.')"
    )
    with pytest.raises(UserError, match=r"^Not now\.$"):
        config_flag.parse_config([f"--config={path}"])
