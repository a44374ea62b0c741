"""Temporary files whose names say which process they belong to.

A process that is killed together with its workers can't remove them. The next command does.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from vgg_jax.storage import running

SHARED_MEMORY = pathlib.Path("/dev/shm")

_OWNER = r"\d{1,9}\.\d{1,19}"  # A PID and a start time.
# The operating system puts "sem." before the names of semaphores.
_NAME = re.compile(rf"(?:sem\.)?vgg_jax-([0-9a-f]+)-({_OWNER}(?:\+{_OWNER})*)-.*")


def _machine() -> str:
    """Returns what tells PIDs of this machine and container from others; "none" if nothing does."""
    names = running.machine(), running.namespace()
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:12] if all(names) else "none"


def prefix(*others: int) -> str:
    """Returns the beginning of the names that belong to this process, and to others by their PIDs.

    What has such a name is removed once all of them have ended.
    """
    owners = [f"{pid}.{running.started(pid)}" for pid in (os.getpid(), *others)]
    return f"vgg_jax-{_machine()}-{'+'.join(owners)}"


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """Makes a folder, and removes it at the end."""
    with tempfile.TemporaryDirectory(prefix=f"{prefix()}-") as folder:
        yield pathlib.Path(folder)


def remove_of_the_dead() -> None:
    """Removes what killed processes of this user have left in shared memory and temporary folders.

    What may belong to a living process stays: one of another machine or container, or one that
    can't be looked up.
    """
    with contextlib.suppress(OSError):  # A folder can't be read.
        for folder in (SHARED_MEMORY, pathlib.Path(tempfile.gettempdir())):
            for path in folder.iterdir():
                with contextlib.suppress(OSError):  # Another command has just removed it.
                    if _belongs_to_the_dead(path):
                        _remove(path)


def _belongs_to_the_dead(path: pathlib.Path) -> bool:
    found = _NAME.fullmatch(path.name)
    return bool(
        found
        and found[1] == _machine()
        and not any(map(_lives, found[2].split("+")))
        and path.lstat().st_uid == os.getuid()
    )


def _lives(owner: str) -> bool:
    pid, _, start = owner.partition(".")
    return running.started(int(pid)) == start


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
