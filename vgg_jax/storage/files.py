"""Files that are either complete or absent, on a disk or in a bucket."""

import contextlib
import io
import os
import pathlib
import shutil
from collections.abc import Iterator

from etils import epath

from vgg_jax import safe_text
from vgg_jax.errors import UserError, did_you_mean
from vgg_jax.storage import gcs, owned, partial_files

Path = pathlib.Path | epath.Path  # On a disk, or in a bucket (gs://...).


def path(name: str) -> Path:
    """Returns the path that a name means, on a disk or in a bucket.

    Raises:
      UserError: It can't be a path in a bucket: see `gcs.path`.
    """
    return gcs.path(name) if "://" in name else pathlib.Path(name).expanduser()


def in_bucket(path: Path) -> bool:
    """Returns whether a path is in a bucket."""
    return isinstance(path, epath.Path)


def absolute(path: Path) -> Path:
    """Returns the absolute path."""
    return path if in_bucket(path) else path.absolute()  # epath puts this folder before gs://.


def similar(path: Path) -> str:
    """Returns " Did you mean X?" if a path isn't there, but one of a similar name is; else ""."""
    if in_bucket(path) or path.exists() or not path.parent.is_dir():
        return ""
    beside = os.path.join(os.path.dirname(path), "")
    return printable(did_you_mean(path.name, os.listdir(path.parent), beside))


def refuse_unwritable(folder: Path, remedy: str = "Choose another.") -> None:
    """Checks that a folder, which needn't exist yet, can be written to.

    Args:
      folder: The folder.
      remedy: The end of the message, for a folder on a disk.

    Raises:
      UserError: The folder can't be written to.
    """
    if in_bucket(folder):
        gcs.refuse_unwritable(folder)
        return
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise UserError(
            f"{folder} can't be written to: {existing} is not a folder that you may write to. "
            f"{remedy}"
        )


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path on a disk; the file written there replaces `path` at the end.

    After an error, or if the process is killed, `path` is unchanged.
    """
    if in_bucket(path):
        with owned.temporary_folder() as folder:
            aside = folder / path.name
            yield aside
            gcs.write(path, aside.read_bytes())
        return
    with named(path), partial_files.beside(path) as aside:
        yield aside
        aside.replace(path)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the path of a file that is being written to the error of a full disk, which has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file, in UTF-8 whatever the locale."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def read(path: Path) -> bytes:
    """Returns a file's contents."""
    return gcs.read(path) if in_bucket(path) else path.read_bytes()


def open_to_read(path: Path) -> io.BufferedIOBase:
    """Opens a file that will be read as a whole."""
    return io.BytesIO(gcs.read(path)) if in_bucket(path) else path.open("rb")


def size(path: Path) -> int:
    """Returns the size of a file in bytes."""
    stat = path.stat()
    return stat.length if in_bucket(path) else stat.st_size


def tree_size(folder: Path) -> int:
    """Returns the size of all files in a folder and its subfolders, in bytes."""
    if in_bucket(folder):
        return sum(entry.size for entry in gcs.below(folder))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def move_tree(source: Path, target: Path, mark: str) -> None:
    """Renames a folder. Nothing may exist at the new path.

    Args:
      source, target: The folder's old and new paths.
      mark: The name of a file in it. In a bucket, a folder without it doesn't count: see
        `gcs.move`.
    """
    if in_bucket(source):
        gcs.move(source, target, mark)
    else:
        source.rename(target)


def remove_tree(path: Path) -> None:
    """Removes a folder and all that is in it, if it exists."""
    if in_bucket(path):
        path.rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def modified_s(path: Path) -> float:
    """Returns when a file was last written, in seconds since the epoch."""
    return modified_ns(path) / 1e9


def modified_ns(path: Path) -> int:
    """Returns when a file was last written, in nanoseconds since the epoch.

    In a bucket, epath gives whole seconds only.
    """
    stat = path.stat()
    return stat.mtime * 10**9 if in_bucket(path) else stat.st_mtime_ns


def printable(path: str | Path) -> str:
    """Returns a path as printable text, even where its bytes aren't UTF-8."""
    return safe_text.printable(os.fsencode(path).decode("utf-8", "backslashreplace"))
