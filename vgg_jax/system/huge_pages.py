"""Huge pages for large blocks of memory, where Linux gives them only to programs that ask for them.

XLA allocates the memory of each computation anew, and glibc returns large blocks to the system, so
that their pages are faulted in and cleared each time. With pages of 2 MB that costs less: on two
cores, a training step of net D took a quarter less time, in the same memory.

A package's __init__ imports this module before any other of a command, so it imports little.
"""

import os
import re
import sys
import types

from vgg_jax.system import signals

_POLICY = "/sys/kernel/mm/transparent_hugepage/enabled"
_VARIABLE = "GLIBC_TUNABLES"
_SINCE = (2, 35)  # The version of glibc that brought the setting.

# What runs before the first line of a package, if Python itself starts `python -m`.
_STARTERS = ("runpy", "importlib._bootstrap", "importlib._bootstrap_external")


def begun_module() -> str:
    """Returns the full name of the module that Python begins.

    It is known while `python -m MODULE` imports the packages above the module, and what they
    import: as long as sys.argv[0] is "-m".
    """
    return re.sub(r"^-\w*?m", "", sys.orig_argv[-len(sys.argv)])  # -mMODULE is one argument.


def use(*commands: str) -> None:
    """Starts `python -m COMMAND` anew with glibc's setting for huge pages, where it does anything.

    glibc reads its settings only when a process begins. Call this in the __init__ of the command's
    package, which Python imports first. In any other process, such as one of a user's own program
    that runs the command, or under a debugger or a profiler, nothing happens: what the process has
    done would be lost. If `GLIBC_TUNABLES` has any value, also an empty one, it stays.

    Args:
      commands: The full names of the modules.
    """
    caller = sys._getframe(1).f_back
    if _VARIABLE in os.environ or not (_starts(commands, caller) and _would_help()):
        return
    environment = os.environ | {_VARIABLE: "glibc.malloc.hugetlb=1"}
    try:
        if os.path.samefile("/proc/self/exe", sys.executable):  # No other program embeds Python.
            signals.hold()
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:  # It is as it was, only slower.
        signals.release()


def _starts(commands: tuple[str, ...], frame: types.FrameType | None) -> bool:
    """Returns whether Python itself begins one of the commands, given the importing frame."""
    while frame is not None and frame.f_globals.get("__name__") in _STARTERS:
        frame = frame.f_back
    if frame is not None:
        return False
    return begun_module() in commands


def _would_help() -> bool:
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        with open(_POLICY, encoding="ascii") as policy:
            return (
                library == "glibc"
                and tuple(map(int, version.split(".")[:2])) >= _SINCE
                and "[madvise]" in policy.read()
            )
    except (OSError, ValueError):  # Not glibc, or not Linux.
        return False
