"""Which process is which: names of machines and their processes that are never given twice."""

import contextlib
import functools
import os
import pathlib


@functools.cache
def machine() -> str:
    """Returns a name of this machine since it was started; "" if the system gives it none."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def namespace() -> str:
    """Returns the namespace in which PIDs count, such as a container; "" if none is known."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def started(pid: int) -> str:
    """Returns when a process began, in ticks since the machine's start.

    It is "" for a process that isn't there, or that is dead and not yet waited for.
    """
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # The name before it may hold anything.
    return "" if state in "ZX" else fields[18]
