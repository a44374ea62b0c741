"""Temporary files whose names say which process they belong to.

A process that is killed together with its workers can't remove them. The next command does.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

SHARED_MEMORY = pathlib.Path("/dev/shm")

# The operating system puts "sem." before the names of semaphores.
_NAME = re.compile(r"(?:sem\.)?vgg_jax-([0-9a-f]+)-(\d+)-(\d+)-.*")


@functools.cache
def _machine() -> str | None:
    """Returns what tells PIDs of this machine and container from others; None without /proc."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


def prefix() -> str:
    """Returns the beginning of the names that belong to this process."""
    return f"vgg_jax-{_machine()}-{os.getpid()}-{_start(os.getpid())}"


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
    with contextlib.suppress(OSError):
        for folder in {SHARED_MEMORY, pathlib.Path(tempfile.gettempdir())}:
            for path in folder.iterdir():
                if _belongs_to_the_dead(path):
                    _remove(path)


def _belongs_to_the_dead(path: pathlib.Path) -> bool:
    owner = _NAME.fullmatch(path.name)
    return bool(
        owner
        and owner[1] == _machine()
        and _start(int(owner[2])) != int(owner[3])
        and path.lstat().st_uid == os.getuid()
    )


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _start(pid: int) -> int | None:
    """Returns when a process began, in ticks since the machine's start; None if it has ended."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # The name before it may hold anything.
    return None if state in "ZX" else int(fields[18])
