"""Signals that stop a command before it has begun its work."""

import importlib
import signal
import subprocess
import sys

import pytest
import small_runs

import launch
import vgg_jax
from vgg_jax.system import signals

COMMANDS = [
    *("vgg_jax.main", "vgg_jax.predict", "vgg_jax.fuse", "vgg_jax.describe", "vgg_jax.weights"),
    *("vgg_jax.features", "launch.sweep", "launch.tables", "launch.benchmark"),
]


def stopped_early(command, number, *before):
    """Stops a command right after its package; returns its status and errors.

    Without arguments, each command would end with an error.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-X", "importtime", "-m", command],
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    package = command.partition(".")[0]
    for line in process.stderr:
        if line.rpartition("|")[2].strip() == package:
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    return process.returncode, [line for line in errors.splitlines() if "import time:" not in line]


@pytest.mark.runs
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_stopped_while_it_imports(command):
    status, errors = stopped_early(command, signal.SIGTERM)
    assert status == 0
    assert errors == ["", "Stopped."]  # Nothing was saved yet.


@pytest.mark.runs
@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGHUP, 0), (signal.SIGUSR1, 0)]
)
def test_each_signal_has_its_status_from_the_first_line(number, expected):
    status, errors = stopped_early("vgg_jax.fuse", number)
    assert status == expected
    assert "Stopped." in errors[-1]


@pytest.mark.runs
def test_nohup_is_respected():
    status, errors = stopped_early("vgg_jax.fuse", signal.SIGHUP, "nohup")
    assert status == 2
    assert errors[-1] == "error: Give the workdirs of two runs or more, each once."


def test_a_program_that_imports_the_package_keeps_its_signals():
    asks = "import signal, vgg_jax; print(signal.getsignal(signal.SIGTERM))"
    done = subprocess.run(
        [sys.executable, "-c", asks], cwd=small_runs.ROOT, capture_output=True, check=True
    )
    assert done.stdout == b"0\n"


@pytest.mark.parametrize("package", [vgg_jax, launch])
@pytest.mark.parametrize(
    ("before", "after", "handles"),
    [
        ("-m {}.main", "", True),
        ("-X dev -m {}.main", "--log=a", True),
        ("-Bm{}.main", "--log=a", True),
        ("-m {}", "", False),
        ("-m mytool", "--log={}.log", False),
        ("-m mytool", "-m {}.main", False),
    ],
)
def test_only_the_packages_own_commands_handle_signals(
    monkeypatch, package, before, after, handles
):
    """The package of a user's own tool may import this one, while sys.argv[0] is "-m" too."""
    before, after = (part.format(package.__name__).split() for part in (before, after))
    handled = []
    monkeypatch.setattr(signals, "handle", lambda: handled.append(True))
    monkeypatch.setattr(sys, "orig_argv", ["python", *before, *after])
    monkeypatch.setattr(sys, "argv", ["-m", *after])
    importlib.reload(package)
    assert handled == [True] * handles


# The main thread is in C for as long as this test waits, as in a step or a compilation.
BUSY = """
import hashlib
from vgg_jax.system import command_line, signals
def main(_):
    with {context}:
        print("busy", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
command_line.run(main{more})
"""


def busy(code):
    """Starts a program, and returns once its main thread is busy."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "busy\n"
    return process


def test_ctrl_c_is_answered_while_the_main_thread_computes():
    process = busy(BUSY.format(context="signals.StopRequest()", more=", goes_on=True"))
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "Ctrl-C again ends at once." in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("Stopped. What was saved is kept, and the same command goes on") == 1


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_command_that_saves_nothing_ends_while_the_main_thread_computes(number, expected):
    process = busy(BUSY.format(context="open('/dev/null')", more=""))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == expected
    assert errors == "\nStopped.\n"


LATE = """
import hashlib, time
from vgg_jax.system import command_line, signals
def main(_):
    with signals.StopRequest() as stop:
        print("busy", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 4_000_000)
        while not stop:
            pass
        time.sleep(1)
    raise stop.error("saved")
command_line.run(main)
"""


def test_a_signal_that_was_answered_early_does_not_count_twice():
    process = busy(LATE)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.split("\n") == ["", errors.split("\n")[1], "", "saved", ""]
    assert "Stopping: what is done is saved first." in errors
