"""Huge pages for large blocks of memory, where Linux gives them only to programs that ask for them.

XLA allocates the memory of each computation anew, and glibc returns large blocks to the system, so
that their pages are faulted in and cleared each time. With pages of 2 MB that costs less: on two
cores, a training step of net D took a quarter less time, in the same memory.
"""

import inspect
import os
import pathlib
import sys
import traceback

_POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
_VARIABLE = "GLIBC_TUNABLES"
_SINCE = (2, 35)  # The version of glibc that brought the setting.


def use() -> None:
    """Starts this command anew with glibc's setting for huge pages, where it does anything.

    glibc reads its settings only when a process begins. Call this first in a module that
    `python -m` runs: what the process has done is lost. The command goes on as it is if
    `GLIBC_TUNABLES` has any value, also an empty one.
    """
    if _VARIABLE not in os.environ and _would_help() and _is_all_that_runs():
        environment = os.environ | {_VARIABLE: "glibc.malloc.hugetlb=1"}
        try:
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
        except OSError:  # It is as it was, only slower.
            return


def _would_help() -> bool:
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return (
            library == "glibc"
            and tuple(map(int, version.split(".")[:2])) >= _SINCE
            and "[madvise]" in _POLICY.read_text()
        )
    except (OSError, ValueError):  # Not glibc, or not Linux.
        return False


def _is_all_that_runs() -> bool:
    """Returns whether Python itself runs the caller's module, not a debugger or a profiler."""
    frames = traceback.walk_stack(inspect.currentframe())
    _, _, *callers = (frame.f_code.co_name for frame, _ in frames)
    return callers == ["<module>", "_run_code", "_run_module_as_main"]
