"""Files that are written aside: made safely, and removed once their writer is dead."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import no_flock
import pytest

from vgg_jax.storage import files, flock, partial_files, running

ROOT = pathlib.Path(__file__).parents[1]
WRITE = """
import pathlib, sys
from vgg_jax.storage import files
with files.written_aside(pathlib.Path(sys.argv[1])) as aside:
    aside.write_text("half")
    print(aside, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.txt"


@contextlib.contextmanager
def writing(path):
    """Starts a process that writes the file until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process, pathlib.Path(process.stdout.readline().strip())
        process.kill()


def killed(path):
    with writing(path) as (process, aside):
        process.send_signal(signal.SIGKILL)
    assert aside.exists()
    return aside


def left(path):
    return sorted({*os.listdir(path.parent)} - {path.name})


def test_the_next_writer_removes_what_a_killed_one_left(path):
    for _ in range(3):
        killed(path)
    assert len(left(path)) == 1  # Each has removed the one before.
    files.write_text(path, "whole")
    assert left(path) == []
    assert path.read_text() == "whole"


def test_what_another_process_is_writing_is_left_alone(path):
    with writing(path) as (process, aside):
        files.write_text(path, "ours")
        assert aside.read_text() == "half"
        process.stdin.close()
        assert process.wait(20) == 0
    assert path.read_text() == "half"
    assert left(path) == []


def test_without_flock_what_is_a_day_old_is_removed(path, monkeypatch):
    aside = killed(path)
    no_flock.patch(monkeypatch)
    files.write_text(path, "ours")
    assert left(path) == [aside.name]
    os.utime(aside, (time.time() - 25 * 3600,) * 2)
    files.write_text(path, "ours")
    assert left(path) == []


def test_on_another_machine_a_lock_is_not_believed(path, monkeypatch):
    aside = killed(path)
    monkeypatch.setattr(running, "machine", lambda: "another")
    files.write_text(path, "ours")
    assert left(path) == [aside.name]
    os.utime(aside, (time.time() - 25 * 3600,) * 2)
    files.write_text(path, "ours")
    assert left(path) == []


def test_a_machine_without_a_name_writes_too(path, monkeypatch):
    monkeypatch.setattr(running, "machine", lambda: "")
    files.write_text(path, "ours")
    assert path.read_text() == "ours"
    assert left(path) == []


def test_files_of_other_names_are_left_alone(path):
    names = (
        ".file.txt.partial",
        ".file.txt.123456abcdef.partial.txt",
        ".file-txt.123456abcdef.partial",
        "file.txt.123456abcdef.partial",
        ".other.123456abcdef.partial",
    )
    for name in names:
        path.with_name(name).touch()
    files.write_text(path, "ours")
    assert left(path) == sorted(names)


def test_no_link_is_followed(path, tmp_path, monkeypatch):
    """Neither that of a name that will be written, nor that of one to be removed."""
    target = tmp_path / "target"
    target.write_text("others'")
    names = iter(("aaaaaa", "bbbbbb"))
    monkeypatch.setattr(partial_files.secrets, "token_hex", lambda _: next(names))
    link = path.with_name(f".file.txt.{running.machine()[:6]}aaaaaa.partial")
    link.symlink_to(target)
    files.write_text(path, "ours")
    assert target.read_text() == "others'"
    assert not path.is_symlink()
    assert path.read_text() == "ours"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_has_the_usual_mode(path, mask, mode):
    before = os.umask(mask)
    try:
        files.write_text(path, "ours")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_file_that_was_taken_for_a_dead_ones_is_made_again(path, monkeypatch):
    """Another process may look at it before it is locked."""
    take, taken = flock.take, []

    def late(descriptor):
        if not taken:
            partial_files.remove_dead(path)
            assert left(path) == []
        taken.append(descriptor)
        return take(descriptor)

    monkeypatch.setattr(flock, "take", late)
    files.write_text(path, "ours")
    assert len(taken) == 2
    assert path.read_text() == "ours"


def test_an_error_names_the_file_itself(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.write_text(tmp_path / "none/file.txt", "ours")
    assert caught.value.filename == str(tmp_path / "none/file.txt")
