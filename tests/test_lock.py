"""Locks, which one process holds at a time, with the children that inherit them."""

import contextlib
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from vgg_jax.errors import UserError
from vgg_jax.storage.lock import locked

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOLD = """
import pathlib, sys
from vgg_jax.storage.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
print("free", flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / ".lock"


@contextlib.contextmanager
def _other_process(path):
    """Starts a process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def _is_free(path):
    try:
        with locked(path, "held"):
            return True
    except UserError:
        return False


def test_a_lock_is_free_again_afterwards(path):
    for _ in range(2):
        with locked(path, "held"):
            assert path.exists()
            assert not _is_free(path)
    assert _is_free(path)


def test_a_lock_is_free_again_after_an_error(path):
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    assert _is_free(path)


def test_what_another_process_holds_is_refused_with_the_message(path):
    with _other_process(path):
        with pytest.raises(UserError) as caught, locked(path, "Another one is at work."):
            pass
        assert str(caught.value) == "Another one is at work."


def test_a_killed_process_holds_nothing(path):
    with _other_process(path) as process:
        process.kill()
        process.wait()
        assert _is_free(path)


def test_it_is_refused_after_the_given_time(path):
    with locked(path):
        begin_s = time.monotonic()
        with pytest.raises(UserError, match="held"), locked(path, "held", wait_s=0.5):
            pass
        assert 0.5 <= time.monotonic() - begin_s < 30


@pytest.mark.parametrize("waiting", [{}, {"refusal": "held", "wait_s": 60}], ids=["ever", "60 s"])
def test_it_waits_until_the_other_has_ended(path, waiting):
    with _other_process(path) as process:
        threading.Timer(0.5, process.stdin.close).start()
        with locked(path, **waiting):
            assert process.stdout.readline() == "free\n"


def test_a_child_that_inherits_it_holds_it_on(path):
    with locked(path) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    assert not _is_free(path)
    child.communicate(b"\n")
    assert child.returncode == 0
    assert _is_free(path)
