"""Progress is a bar on a terminal, and now and then a plain line in a pipe or a log file."""

import contextlib
import os
import pty
import subprocess
import sys
import termios

import pytest
import small_runs

from vgg_jax.system import progress_bar

WORK = """
from vgg_jax.system import progress_bar
with progress_bar.bar(40, "images", "scanning") as bar:
    for _ in range(40):
        bar.update()
    bar.write("done")
"""


def run(**more):
    return subprocess.Popen([sys.executable, "-c", WORK], cwd=small_runs.ROOT, **more)


def test_a_terminal_shows_a_bar():
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = run(stderr=end)
    os.close(end)
    process.wait()
    shown = b""
    with contextlib.suppress(OSError):  # Linux raises it at the end.
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert b"\rscanning:" in shown
    assert b"40/40" in shown


def test_a_pipe_has_no_bar():
    assert run(stderr=subprocess.PIPE, text=True).communicate()[1] == "done\n"


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_with_progress_and_otherwise_rarely(clock, capsys):
    bar = progress_bar.bar(10_000, "steps", "training", done=1_000)
    bar.set_postfix_str("loss 1.5")

    def lines(seconds, each):
        """Passes some seconds, with so much work in each, and returns the lines."""
        for _ in range(seconds):
            clock[0] += 1
            bar.update(each)
        return capsys.readouterr().err.splitlines()

    # A hundredth of the work takes 100 s. How long all of it takes is said sooner.
    assert lines(210, each=1) == [
        "training: 1,010 of 10,000 steps, 2:29:50 left, loss 1.5",
        "training: 1,110 of 10,000 steps, 2:28:10 left, loss 1.5",
        "training: 1,210 of 10,000 steps, 2:26:30 left, loss 1.5",
    ]
    assert len(lines(90, each=50)) == 3
    assert len(lines(900, each=0)) == 3
    bar.close()
    assert capsys.readouterr().err == ""


def test_what_came_before_the_clock_began_is_not_in_the_estimate(clock, capsys, monkeypatch):
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    lines = progress_bar.bar(100, "steps", "training")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = progress_bar.bar(100, "steps", "training")
    for shown in (lines, bar):
        shown.say("compiling")
        clock[0] += 1000
        shown.begin_clock(1)
        for _ in range(12):
            clock[0] += 1
            shown.update()
    bar.close()
    err = capsys.readouterr().err
    assert "training: compiling\n" in err
    assert "training: 11 of 100 steps, 01:29 left\n" in err
    assert "13/100 [00:12<01:27,  1.00 steps/s" in err


def test_the_time_that_is_left_may_be_set(clock, capsys, monkeypatch):
    lines = progress_bar.bar(100, "images", "dense")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = progress_bar.bar(100, "images", "dense")
    for shown in (lines, bar):
        shown.set_left(3723)
        clock[0] += 10
        shown.update()
    bar.refresh()
    bar.close()
    err = capsys.readouterr().err
    assert "dense: 1 of 100 images, 1:02:03 left\n" in err
    assert "<1:02:03," in err
