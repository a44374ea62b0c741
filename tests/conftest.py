"""Settings of all tests: 8 virtual CPU devices, checked shapes and strict rank promotion."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import textwrap

import gcs_server
import small_runs

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {small_runs.XLA_FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
# No command starts anew for huge pages.
os.environ.setdefault("GLIBC_TUNABLES", "")
# All processes of a session share compiled programs; this process starts xdist's workers.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # A given folder is kept for later sessions.
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name

import jax
import numpy as np
import pytest
from absl import flags
from jaxtyping import install_import_hook
from PIL import Image

jax.config.update("jax_numpy_rank_promotion", "raise")

# Tests send SIGHUP, which processes under nohup ignore, and their children too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# This comes before any test imports the package. It checks every annotated shape at each call.
install_import_hook("vgg_jax", "beartype.beartype")


# These have the longest tests.
FIRST = (
    *("test_slurm.py", "test_processes.py", "test_resume.py", "test_gcs.py"),
    *("test_sweep.py", "test_imagenet_forms.py"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests whose fixtures start runs, and puts the longest tests first.

    A test of a minute that began last would leave the other worker without work.
    """

    def rank(item):
        if item.path.name in FIRST:
            return FIRST.index(item.path.name)
        return len(FIRST) + (item.get_closest_marker("runs") is None)

    for item in items:
        if {"run_main", "trained"} & {*item.fixturenames}:
            item.add_marker("runs")
    items.sort(key=rank)


def pytest_collection_finish():
    """Freezes imported objects, so that the garbage collector doesn't visit them each time."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_is_frozen():
    """Freezes what a module's tests leave in caches: later collections took up to eight seconds."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _sees_eight_devices():
    assert jax.device_count() == 8


@pytest.fixture(autouse=True)
def _what_runs_is_marked(request, monkeypatch):
    """Fails a test that starts a run unmarked: the tests without the marker must stay quick."""
    if request.node.get_closest_marker("runs"):
        return
    start = subprocess.Popen.__init__

    def checked(self, args, *more, **options):
        assert "vgg_jax.main" not in args, "Mark this test: pytest.mark.runs."
        start(self, args, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", checked)


@pytest.fixture(scope="module")
def parsed_flags():
    """Marks absl's flags as parsed, which Grain's worker processes need and `main` does."""
    was_parsed = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not was_parsed:
        flags.FLAGS.unparse_flags()


@pytest.fixture
def highest_precision():
    """Computes matrix products and convolutions in full float32."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="module")
def server():
    """A server with a bucket, which this process and those that tests start reach."""
    with gcs_server.serve("bucket") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Writes a module of a user's own, which imports find until the test ends."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(name, text):
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.setitem(sys.modules, name, None)  # The end of the test forgets the module.
        del sys.modules[name]
        return folder

    return write


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """17 training and 9 validation images of 3 classes; batches divide neither number."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 17), ("val", 9)):
        for index in range(count):
            directory = root / split / "abc"[index % 3]
            directory.mkdir(parents=True, exist_ok=True)
            height, width = rng.integers(40, 120, 2)
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
            image.convert("L" if index % 5 == 0 else "RGB").save(directory / f"{index}.jpg")
    return root


@pytest.fixture(scope="session")
def trained(folder, tmp_path_factory):
    """A finished run that evaluated both methods at its end, in a process of its own."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    done = small_runs.run_process(
        *small_runs.one_epoch(folder, workdir, "--config.eval.method=both")
    )
    assert done.returncode == 0, done.stderr
    (workdir / "output").write_text(done.stdout)
    return workdir


@pytest.fixture
def run_main(monkeypatch):
    """Calls `main` with flags, as `python -m vgg_jax.main` does, but in this process."""
    from vgg_jax import main

    monkeypatch.chdir(small_runs.ROOT)

    def call(*args):
        argv = ["main", *map(str, args)]
        monkeypatch.setattr(sys, "argv", argv)
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)  # They are defined again for each override.
        flags.FLAGS.unparse_flags()
        main.main(main.parse_flags(argv))

    return call
