"""The folder of the cache: where it is by default, and what is said where it can't be written."""

import os
import subprocess
import sys

import pytest
import small_runs
from small_runs import ROOT, run_process

from vgg_jax import base_config
from vgg_jax.errors import UserError
from vgg_jax.storage import cache_folder


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        (None, "~/.cache/vgg_jax"),
        ("", "~/.cache/vgg_jax"),
        ("cache", "~/.cache/vgg_jax"),
        ("./cache", "~/.cache/vgg_jax"),
        ("/big/cache", "/big/cache/vgg_jax"),
    ],
)
def test_the_cache_follows_the_rules_of_xdg(monkeypatch, home, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert base_config.get_config().data.cache_dir == expected


def test_a_home_that_is_not_known(monkeypatch):
    with pytest.raises(
        UserError, match=r"~nobody-of-that-name/c .*home.*--config\.data\.cache_dir"
    ):
        cache_folder.path("~nobody-of-that-name/c", "scans")


@pytest.mark.runs
def test_the_embedded_set_without_a_cache(tmp_path):
    (tmp_path / "file").touch()
    done = run_process(
        "--config=configs/quickstart.py",
        f"--workdir={tmp_path}/run",
        XDG_CACHE_HOME=f"{tmp_path}/file",
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: The cache {tmp_path}/file/vgg_jax can't be written to (Not a directory). Set "
        "--config.data.cache_dir to a folder that can be written to.\n"
    )
    assert not (tmp_path / "run").exists()


def test_no_programs_are_kept_without_a_cache(tmp_path):
    (tmp_path / "file").touch()
    asks = (
        "import jax; from vgg_jax.system import compilation_cache; "
        f"compilation_cache.keep({str(tmp_path)!r} + {{where!r}}); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    environment = {key: v for key, v in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    kept = [
        subprocess.check_output(
            [sys.executable, "-c", asks.format(where=where)], cwd=ROOT, env=environment, text=True
        ).strip()
        for where in ("/file", "/folder")
    ]
    assert kept == ["None", f"{tmp_path}/folder/compiled"]


COMPILES = """
import resource, sys, warnings
from vgg_jax.system import compilation_cache
compilation_cache.keep(sys.argv[1])
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
import jax
jax.jit(lambda x: x + 1)(1)
warnings.warn("another")
"""


def compiled(folder, *limit):
    """Compiles a program in a process with a cache; returns the sizes of what is kept."""
    environment = small_runs.environment(JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", COMPILES, folder, *limit]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "another" in done.stderr
    assert "cache" not in done.stderr
    return {path: path.stat().st_size for path in (folder / "compiled").iterdir()}


def test_a_program_that_was_cut_short_by_a_kill_is_written_again(tmp_path):
    whole = compiled(tmp_path)
    assert whole
    for path, size in whole.items():
        os.truncate(path, size // 2)
    assert compiled(tmp_path) == whole


def test_nothing_is_kept_of_a_program_that_a_full_disk_cuts_short(tmp_path):
    assert compiled(tmp_path, "100") == {}
    assert compiled(tmp_path) != {}
