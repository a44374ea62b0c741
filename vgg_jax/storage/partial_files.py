"""Files on a disk that will replace others once they are complete.

They are called .NAME.HEX.partial, with six digits of the machine and six random ones. The next
writer of NAME removes those that killed processes have left.
"""

import contextlib
import os
import pathlib
import re
import secrets
import stat
import time
from collections.abc import Iterator

from vgg_jax.storage import flock, running

_OLD_S = 24 * 3600
_REST = re.compile(r"([0-9a-f]{6})[0-9a-f]{6}\.partial")


@contextlib.contextmanager
def beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new, empty file in the folder of `path`, and removes it unless it was renamed."""
    remove_dead(path)
    aside, descriptor = create(path)
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)
        os.close(descriptor)


def create(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Creates a file in the folder of `path`.

    Returns:
      The file and its descriptor. Where there is flock, it holds a lock, which says that the writer
      is alive.
    """
    while True:
        name = f".{path.name}.{_machine()}{secrets.token_hex(3)}.partial"
        aside = path.with_name(name)
        try:  # What is there already, such as a link, isn't opened.
            descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = str(path)
            raise
        flock.take(descriptor)
        if os.fstat(descriptor).st_nlink:
            return aside, descriptor
        os.close(descriptor)  # Before it was locked, another process took it for a dead one's.


def remove_dead(path: pathlib.Path) -> None:
    """Removes the files that killed processes have left for `path`.

    Where no lock tells whether the writer is alive, a file that is a day old counts as left.
    """
    prefix = f".{path.name}."
    with contextlib.suppress(OSError):  # The folder may be one in which files can't be listed.
        for name in os.listdir(path.parent):
            rest = name.removeprefix(prefix)
            if rest != name and (found := _REST.fullmatch(rest)):
                with contextlib.suppress(OSError):
                    _remove_if_dead(path.with_name(name), is_here=found[1] == _machine())


def _remove_if_dead(aside: pathlib.Path, *, is_here: bool) -> None:
    descriptor = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about, held = os.fstat(descriptor), flock.is_held(descriptor)
        is_dead = not held and ((is_here and held is False) or _is_old(about.st_mtime))
        if is_dead and stat.S_ISREG(about.st_mode):
            aside.unlink()
    finally:
        os.close(descriptor)


def _is_old(modified_s: float) -> bool:
    return time.time() - modified_s > _OLD_S


def _machine() -> str:
    # A machine without a name may not judge by locks, which others with none may not see.
    return running.machine()[:6] or secrets.token_hex(3)
