"""A wheel in an empty folder, far from the checkout, can do all that the package promises."""

import os
import shutil
import subprocess
import sys

import pytest
import small_runs

pytest.importorskip("setuptools", minversion="77", reason="It builds the wheel.")

CONFIG = """
from vgg_jax import base_config

def get_config():
    c = base_config.get_config()
    c.name = "mine"
    c.net, c.width, c.num_classes = "A", 1 / 32, 0
    c.crop_px, c.train_scale, c.val_scale = 64, (73, 73), 73
    c.batch_size = c.eval.batch_size = 8
    c.num_epochs, c.dtype = 1, "float32"
    c.data.name, c.data.num_workers = "folder", 0
    return c
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which the wheel of this checkout is installed, without its dependencies."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"  # A build in the checkout would leave files there.
    shutil.copytree(
        small_runs.ROOT / "vgg_jax",
        source / "vgg_jax",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(small_runs.ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    wheels = root / "wheels"
    build = [*pip, "wheel", *alone, "--no-build-isolation", f"--wheel-dir={wheels}", source]
    subprocess.run(build, check=True, cwd=root)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", *alone, f"--target={root / 'site'}", wheel], check=True)
    return root / "site"


@pytest.fixture(scope="module")
def python(site, tmp_path_factory):
    """Runs Python in a folder that was empty at first, and returns what it printed."""
    folder = tmp_path_factory.mktemp("empty")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-P", *map(str, arguments)],
            cwd=folder,
            env=small_runs.environment(PYTHONPATH=str(site), XDG_CACHE_HOME=str(folder / "cache")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def trained(python, folder):
    """The name of a run that was trained by a config file beside it."""
    (python.folder / "mine.py").write_text(CONFIG)
    output = python("-m", "vgg_jax.main", "--config=mine.py", f"--config.data.dir={folder}")
    assert "dense, Q = 73: top-1 error" in output
    return "runs/mine"


def test_the_wheel_is_what_is_imported(python, site):
    found = python("-c", "import vgg_jax; print(vgg_jax.__file__)").strip()
    assert found == os.fspath(site / "vgg_jax/__init__.py")


def test_the_wheel_holds_every_file_of_the_package(site):
    found = (small_runs.ROOT / "vgg_jax").rglob("*")
    names = [
        os.fspath(path.relative_to(small_runs.ROOT))
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    ]
    missing = [name for name in names if not (site / name).exists()]
    assert missing == ["vgg_jax/README.md"]


def test_nets_are_described(python):
    assert "B: 13 weight layers" in python("-m", "vgg_jax.describe", "--net=B")


@pytest.mark.runs
def test_a_run_of_a_users_own_config_is_used(python, trained, folder):
    photo = folder / "val/a/0.jpg"
    assert "a" in python("-m", "vgg_jax.predict", photo, f"--workdir={trained}", "--top=1")
    says = python("-m", "vgg_jax.report", trained)
    assert "report.html" in says
    assert "<style>" in (python.folder / trained / "report.html").read_text()
    shutil.copytree(python.folder / trained, python.folder / "runs/copy")
    fused = python("-m", "vgg_jax.fuse", trained, "runs/copy")
    assert "on 9 images" in fused
    loaded = f"import vgg_jax; print(vgg_jax.load({trained!r}).class_names)"
    assert python("-c", loaded) == "('a', 'b', 'c')\n"


@pytest.mark.runs
def test_weights_leave_and_come_back(python, trained):
    python("-m", "vgg_jax.weights", "export", trained, "net.safetensors")
    python("-m", "vgg_jax.weights", "import", "net.safetensors", "runs/imported")
    assert "imported" in python("-m", "vgg_jax.main", "--workdir=runs/imported")
