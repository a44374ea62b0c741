"""Files that are there whole or not at all, and their names in print."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from etils import epath

Path = pathlib.Path | epath.Path  # On a disk; or in a bucket: gs://...


def path(name: str) -> Path:
    """Returns the path of that name."""
    return epath.Path(name) if "://" in name else pathlib.Path(name).expanduser()


@contextlib.contextmanager
def written_aside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; at the end it takes its place.

    After an error, or killed on the way, `path` is what it was.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file."""
    with written_aside(path) as aside:
        aside.write_text(text)


def modified_s(path: Path) -> float:
    """Returns when a file was last written, in seconds of the epoch."""
    stat = path.stat()
    return stat.mtime if isinstance(path, epath.Path) else stat.st_mtime


def printable(path: str | pathlib.Path) -> str:
    """Returns a path as text that can be printed: names needn't be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
