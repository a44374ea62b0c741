"""Decides which process writes to a folder. Readers ask nobody.

The writer has a lease, which is a file in that folder, and renews it. Whoever wants to replace it
must know whether it is alive:

- It holds a lock on the file, if the disk has flock.
- Without that, as in buckets, its process is there, if it runs on the same machine.
- Otherwise the lease is watched: one that isn't renewed for WATCH_S is a dead process's. The clocks
  of two hosts are never compared.
"""

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

from vgg_jax import safe_text
from vgg_jax.errors import UserError
from vgg_jax.storage import files, lease
from vgg_jax.storage.files import Path
from vgg_jax.storage.lease import Lease, Owner

RENEW_S = 10.0  # The time from one renewal to the next.
WATCH_S = 40.0  # A lease that isn't renewed for so long counts as a dead process's.
_LOOKS = 3  # A mount may be away for a moment, and a starter that saw an old listing withdraws.
_RETRY_S = 0.2


def _end(error: UserError) -> None:
    print(safe_text.lines(f"\nerror: {error}"), file=sys.stderr, flush=True)
    os._exit(2)


@contextlib.contextmanager
def one_writer(
    folder: Path,
    name: str,
    doing: str,
    otherwise: str,
    *,
    wait_s: int | float = 1,
    end: Callable[[UserError], object] = _end,
) -> Iterator[int | None]:
    """Makes this process the only one that writes something to a folder.

    A writer that has died is replaced: at once if it ran on this machine, else after WATCH_S, for
    which its lease is watched.

    Args:
      folder: The folder, on a disk or in a bucket. It is made if it is missing.
      name: What is written: one process at a time writes each.
      doing: What this process does there, for the message to others, for example "training".
      otherwise: What can be done instead of waiting, for the error's message.
      wait_s: Seconds to wait for a writer that is alive. One that was killed needs a moment to end.
      end: Ends this process, in another thread, if it is the writer no more: it was suspended, or
        couldn't reach the folder, and another took over; or the folder was removed.

    Yields:
      A file descriptor, or None where there is no flock. The folder stays in use until all
      processes that inherit it have ended.

    Raises:
      UserError: Another process is the writer, and still is after wait_s.
    """
    owner = Owner.this_process(doing)
    is_new = not files.in_bucket(folder) and not folder.exists()
    mine, descriptor = _take(folder, name, owner, otherwise, time.monotonic() + wait_s)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(mine, owner, ended, end), daemon=True)
    renewing.start()
    try:
        yield descriptor
    finally:
        ended.set()
        renewing.join()
        if descriptor is not None:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            if not mine.is_locked():  # Processes that inherited it may go on.
                mine.remove()
            if is_new:
                folder.rmdir()  # It is empty if this process was refused for another reason.


def _take(
    folder: Path, name: str, owner: Owner, otherwise: str, until_s: int | float
) -> tuple[Lease, int | None]:
    """Returns this process's lease, and the descriptor of its lock."""
    dead: set[Lease] = set()
    while True:
        others = lease.found(folder, name)
        alive = next((one for one in others if one not in dead and _is_alive(one)), None)
        if alive is not None:
            if time.monotonic() >= until_s:
                with contextlib.suppress(FileNotFoundError):  # It has just ended.
                    raise _refusal(alive, otherwise)
            time.sleep(_RETRY_S)
            continue
        dead.update(others)
        # Of those that follow the same one, one alone can create it. The time isn't used twice.
        number = others[-1].generation + 1 if others else int(time.time())
        mine = Lease(folder, name, number)
        if not files.in_bucket(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = mine.create(owner)
        except (FileExistsError, FileNotFoundError):  # Another was faster, or removed the folder.
            time.sleep(random.uniform(0, _RETRY_S))
            continue
        if {*lease.found(folder, name)} <= dead | {mine}:
            for one in dead:
                one.remove()
            return mine, descriptor
        # One that saw an earlier listing has taken another number. Both withdraw.
        mine.remove()
        if descriptor is not None:
            os.close(descriptor)
        time.sleep(random.uniform(0, _RETRY_S))


def _is_alive(one: Lease) -> bool:
    try:
        owner, is_locked = one.owner(), one.is_locked()
        if is_locked:
            return True
        if owner is not None:
            if is_locked is False and owner.flock and owner.is_on_this_machine:
                return False
            is_running = owner.is_running()
            if is_running is not None:
                return is_running
        line = (
            f"{one.folder} may be in use: {_who(owner)}. Waiting for up to {WATCH_S:.0f} s to see "
            "whether it is alive ..."
        )
        print(safe_text.lines(line), flush=True)
        before, until_s = one.renewal(), time.monotonic() + WATCH_S
        while time.monotonic() < until_s:
            time.sleep(WATCH_S / 40)
            if one.renewal() != before:
                return True
    except FileNotFoundError:  # It has ended.
        pass
    return False


def _who(owner: Owner | None) -> str:
    if owner is None:
        return "a process that left no name has a lease there"
    return f"process {owner.pid} on {owner.host} has been {owner.doing} there since {owner.since}"


def _refusal(one: Lease, otherwise: str) -> UserError:
    owner = one.owner()
    stop = f", stop it (kill {owner.pid} on {owner.host})," if owner else ""
    return UserError(
        f"{one.folder} is in use: {_who(owner)}. Wait until it has ended{stop} or {otherwise}."
    )


def _renew(
    mine: Lease, owner: Owner, ended: threading.Event, end: Callable[[UserError], object]
) -> None:
    doubts = 0
    while not ended.wait(RENEW_S):
        try:
            leases = lease.found(mine.folder, mine.name)
            if mine in leases:
                mine.renew(owner)
        except FileNotFoundError:
            leases = []
        except Exception:  # A passing error, of a network for example.
            continue
        doubts = 0 if leases[-1:] == [mine] else doubts + 1
        is_replaced = bool(leases) and mine not in leases  # Whoever takes over removes it.
        if (is_replaced or doubts == _LOOKS) and not ended.is_set():
            end(
                UserError(
                    f"{mine.path} is gone or outdated: another process has taken over while this "
                    f"one was suspended or couldn't reach {mine.folder}, or that was removed. This "
                    "process has ended, so that it doesn't write there too. What it saved is kept."
                )
            )
            return
