"""One process at a time writes to a folder, with the children that inherit its lock."""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

import no_flock
import pytest

from vgg_jax.errors import UserError
from vgg_jax.storage import files, lease, writer
from vgg_jax.storage.lease import Lease, Owner

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOLD = """
import pathlib, sys
from vgg_jax.storage.writer import one_writer
with one_writer(pathlib.Path(sys.argv[1]), "run", "training", "go elsewhere") as descriptor:
    print("held", flush=True)
    sys.stdin.read()
print("free", flush=True)
"""


@pytest.fixture(params=["flock", "no flock", "bucket"])
def place(request, tmp_path, monkeypatch):
    """A folder that doesn't exist yet, on a disk with and without flock and in a bucket."""
    if request.param == "bucket":
        server = request.getfixturevalue("server")
        server.objects.clear()
        return files.path("gs://bucket/folder")
    if request.param == "no flock":
        no_flock.patch(monkeypatch)
    return tmp_path / "folder"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(writer, "RENEW_S", 0.05)
    monkeypatch.setattr(writer, "WATCH_S", 0.4)


@contextlib.contextmanager
def other_process(folder, before=""):
    """Starts a process that is the writer until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def one_writer(folder, **more):
    return writer.one_writer(folder, "run", "training", "go elsewhere", **{"wait_s": 0} | more)


def is_free(folder):
    try:
        with one_writer(folder):
            return True
    except UserError:
        return False


def leases(folder):
    return lease.found(folder, "run")


def leave(folder, number=7, **owner):
    """Leaves a lease that nobody renews or locks."""
    left = Lease(folder, "run", number)
    about = dataclasses.asdict(Owner.this_process("training")) | {"flock": True} | owner
    folder.mkdir(exist_ok=True)
    files.write_text(left.path, json.dumps(about))
    return left


ELSEWHERE = {"host": "far", "machine": "another", "pid": 4242}
DEAD = {"started": "0"}  # No process with that number has started then.


def test_a_folder_is_free_again_afterwards(place):
    for _ in range(2):
        with one_writer(place):
            assert len(leases(place)) == 1
            assert not is_free(place)
        assert leases(place) == []


def test_a_folder_is_free_again_after_an_error(place):
    with pytest.raises(ZeroDivisionError), one_writer(place):
        raise ZeroDivisionError
    assert is_free(place)


def test_a_folder_that_was_made_and_not_used_is_removed(tmp_path):
    with one_writer(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with one_writer(tmp_path / "old"):
        pass
    assert (tmp_path / "old").exists()


def test_writers_of_other_things_are_not_in_the_way(place):
    with one_writer(place), writer.one_writer(place, "run-2", "training", "go elsewhere"):
        pass


@pytest.mark.parametrize("before", ["", no_flock.CODE], ids=["flock", "no flock"])
def test_a_refusal_says_who_writes_since_when_and_what_to_do(tmp_path, monkeypatch, before):
    if before:
        no_flock.patch(monkeypatch)
    with other_process(tmp_path, before) as process:
        with pytest.raises(UserError) as caught, one_writer(tmp_path):
            pass
        host, pid = os.uname().nodename, process.pid
        start, _, end = str(caught.value).partition(" since 20")
        assert start == f"{tmp_path} is in use: process {pid} on {host} has been training there"
        assert end.endswith(
            f" UTC. Wait until it has ended, stop it (kill {pid} on {host}), or go elsewhere."
        )


@pytest.mark.parametrize("before", ["", no_flock.CODE], ids=["flock", "no flock"])
def test_a_killed_process_is_replaced_at_once(tmp_path, monkeypatch, before, capsys):
    if before:
        no_flock.patch(monkeypatch)
    with other_process(tmp_path, before) as process:
        process.kill()  # It isn't waited for.
        with writer.one_writer(tmp_path, "run", "training", "go elsewhere"):
            pass
    assert capsys.readouterr().out == ""


def test_fifty_kills_leave_one_lease_at_most(place):
    for number in range(50):
        leave(place, number, **DEAD)
    with one_writer(place):
        assert [one.generation for one in leases(place)] == [50]
        if not files.in_bucket(place):
            assert len(os.listdir(place)) == 1


def test_a_lease_that_was_not_completed_is_no_lease(tmp_path):
    killed = "import os\ndef link(*_):\n    os.kill(os.getpid(), 9)\nos.link = link\n"
    process = subprocess.run([sys.executable, "-c", killed + HOLD, tmp_path], cwd=ROOT, check=False)
    assert process.returncode == -9
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".partial")
    with one_writer(tmp_path):
        assert [tmp_path / name for name in os.listdir(tmp_path)] == [leases(tmp_path)[0].path]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_disk_without_hard_links_has_one_writer_too(tmp_path, monkeypatch, number):
    def link(*_):
        raise OSError(number, "no links")

    monkeypatch.setattr(os, "link", link)
    with one_writer(tmp_path):
        assert not is_free(tmp_path)
        assert leases(tmp_path)[0].owner().pid == os.getpid()
    assert os.listdir(tmp_path) == []


# Writers on other hosts, and those that can't be looked for.


@pytest.mark.parametrize(
    "owner",
    [ELSEWHERE, {"namespace": "pid:[1]", "flock": False}],
    ids=["another host", "another container"],
)
def test_what_nobody_renews_is_replaced_after_it_was_watched(place, quick, capsys, owner):
    leave(place, **owner)
    begin_s = time.monotonic()
    with one_writer(place):
        assert time.monotonic() - begin_s >= 0.4
        assert [one.generation for one in leases(place)] == [8]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{place} may be in use: process ")
    assert line.endswith("to see whether it is alive ...")


def test_what_its_owner_renews_is_refused(place, quick):
    left = leave(place, **ELSEWHERE)
    ended = threading.Event()

    def renew():
        while not ended.wait(0.05):
            left.renew(dataclasses.replace(Owner.this_process("training"), **ELSEWHERE))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(UserError, match="process 4242 on far has been training"):
            one_writer(place).__enter__()
    finally:
        ended.set()
        thread.join()


def test_a_lock_that_only_its_own_host_sees_does_not_make_a_dead_one(tmp_path, quick):
    """Lustre may be mounted with `localflock`."""
    left = leave(tmp_path, **ELSEWHERE)
    assert left.is_locked() is False
    begin_s = time.monotonic()
    assert is_free(tmp_path)
    assert time.monotonic() - begin_s >= 0.4


@pytest.mark.parametrize(
    "contents",
    [
        *(b"", b"[]", b'{"pid": 1}', b"\xff"),
        json.dumps(vars(Owner.this_process("training")) | {"pid": "1"}).encode(),
    ],
)
def test_a_lease_that_names_nobody_is_watched(tmp_path, quick, capsys, contents):
    (tmp_path / ".run-writer.1").write_bytes(contents)
    assert is_free(tmp_path)
    assert "a process that left no name has a lease there" in capsys.readouterr().out


def test_a_number_that_no_process_has_is_a_dead_ones(tmp_path):
    owner = dataclasses.replace(Owner.this_process("training"), pid=10**30)
    Lease(tmp_path, "run", 1).path.write_text(json.dumps(vars(owner)))
    with one_writer(tmp_path):
        pass


def test_a_lease_that_ends_while_it_is_watched_is_followed_at_once(place, quick, monkeypatch):
    monkeypatch.setattr(writer, "WATCH_S", 20.0)
    left = leave(place, **ELSEWHERE)
    threading.Timer(0.5, left.remove).start()
    begin_s = time.monotonic()
    assert is_free(place)
    assert time.monotonic() - begin_s < 10


def test_a_live_writer_renews_its_lease(place, quick):
    with one_writer(place):
        (mine,) = leases(place)
        before, until_s = mine.renewal(), time.monotonic() + 20
        while mine.renewal() == before:
            assert time.monotonic() < until_s
            time.sleep(0.01)


# A writer that is replaced must end.


def wait_for(messages):
    until_s = time.monotonic() + 20
    while not messages:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    (message,) = messages
    return str(message)


def test_a_writer_that_was_replaced_ends(place, quick):
    ends = []
    with one_writer(place, end=ends.append):
        (mine,) = leases(place)
        newer = leave(place, mine.generation + 1, **ELSEWHERE)
        mine.remove()
        assert "another process has taken over" in wait_for(ends)
        newer.remove()


def test_a_writer_that_another_could_not_remove_ends(place, quick):
    ends = []
    with one_writer(place, end=ends.append):
        (mine,) = leases(place)
        newer = leave(place, mine.generation + 1, **ELSEWHERE)
        assert "another process has taken over" in wait_for(ends)
        newer.remove()


def test_a_starter_that_withdraws_ends_no_writer(tmp_path, quick, monkeypatch):
    ends = []
    with one_writer(tmp_path, end=ends.append):
        monkeypatch.setattr(writer, "RENEW_S", 5.0)
        leave(tmp_path, leases(tmp_path)[0].generation + 1, **ELSEWHERE)
        time.sleep(0.2)  # The writer has seen it.
        monkeypatch.setattr(writer, "RENEW_S", 0.05)
        leases(tmp_path)[1].remove()
        assert len(leases(tmp_path)) == 1
    assert ends == []


def test_a_writer_whose_folder_was_removed_ends(place, quick):
    ends = []
    with one_writer(place, end=ends.append):
        if files.in_bucket(place):
            leases(place)[0].remove()
        else:
            leases(place)[0].path.unlink()
            place.rmdir()
        assert "that was removed" in wait_for(ends)


def test_a_passing_error_ends_no_writer(tmp_path, quick, monkeypatch):
    ends = []
    with one_writer(tmp_path, end=ends.append):
        for error in (OSError(errno.ESTALE, "stale"), OSError(errno.EIO, "io")):

            def fail(*_, error=error):
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(os, "utime", fail)
                time.sleep(0.5)
        assert ends == []
        with monkeypatch.context() as patch:  # The folder is missing once.
            patch.setattr(writer, "RENEW_S", 5.0)
            (tmp_path / "aside").mkdir()
            mine = leases(tmp_path)[0].path
            mine.rename(tmp_path / "aside/it")
            time.sleep(0.2)
            (tmp_path / "aside/it").rename(mine)
            time.sleep(0.2)
        assert ends == []


def test_the_end_of_a_replaced_process_is_one_line(tmp_path):
    quick = "from vgg_jax.storage import writer\nwriter.RENEW_S = 0.05\n"
    process = subprocess.Popen(
        [sys.executable, "-c", quick + HOLD, tmp_path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    leave(tmp_path, leases(tmp_path)[0].generation + 1, **ELSEWHERE)
    assert process.wait(20) == 2
    (line,) = process.stderr.read().strip().splitlines()
    assert line.startswith(f"error: {tmp_path}/.run-writer.")
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


# Several at the same moment.


@pytest.mark.parametrize("left", ["a dead one", "nothing", "nothing, and clocks that differ"])
def test_of_several_starters_one_wins(place, left, monkeypatch):
    rounds, starters = (2, 4) if files.in_bucket(place) else (7, 8)
    if left.endswith("differ"):
        monkeypatch.setattr(time, "time", lambda: random.uniform(0, 1e6))
    for _ in range(rounds):
        if left == "a dead one":
            leave(place, **DEAD)
        start, done = threading.Barrier(starters), threading.Barrier(starters)
        won, refused = [], []

        def try_once(start=start, done=done, won=won, refused=refused):
            start.wait()
            try:
                with one_writer(place):
                    won.append(threading.get_ident())
                    done.wait()
                    return
            except UserError as error:
                refused.append(str(error))
            done.wait()

        threads = [threading.Thread(target=try_once) for _ in range(starters)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(refused)) == (1, starters - 1)
        assert all(f"process {os.getpid()} on" in text for text in refused)
        assert leases(place) == []


def test_one_that_has_seen_an_old_listing_does_not_win_too(place, monkeypatch):
    """It may create a lease of another number than the writer's."""
    with one_writer(place):
        real, calls = lease.found, []

        def stale(folder, name):
            calls.append(name)
            return [] if len(calls) == 1 else real(folder, name)

        monkeypatch.setattr(lease, "found", stale)
        monkeypatch.setattr(time, "time", lambda: 5.0)  # An earlier number.
        with pytest.raises(UserError, match="is in use"):
            one_writer(place).__enter__()
        monkeypatch.undo()
        assert len(calls) == 3


# Waiting, and children.


def test_it_is_refused_after_the_given_time(tmp_path):
    with one_writer(tmp_path):
        begin_s = time.monotonic()
        with pytest.raises(UserError), one_writer(tmp_path, wait_s=0.5):
            pass
        assert 0.5 <= time.monotonic() - begin_s < 30


def test_it_waits_until_the_other_has_ended(tmp_path):
    with other_process(tmp_path) as process:
        threading.Timer(0.5, process.stdin.close).start()
        with one_writer(tmp_path, wait_s=60):
            assert process.stdout.readline() == "free\n"


def test_a_child_that_inherits_the_lock_holds_it_on(tmp_path):
    with one_writer(tmp_path) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    assert not is_free(tmp_path)
    child.communicate(b"\n")
    assert child.returncode == 0
    assert is_free(tmp_path)
