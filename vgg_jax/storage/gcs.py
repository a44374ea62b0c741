"""Buckets of Google Cloud Storage: what epath can't do, done with gcsfs."""

import contextlib
import functools
import importlib.util
import os
import socket
from collections.abc import Iterator
from glob import has_magic
from typing import Any, NamedTuple

import fsspec
from etils import epath

from vgg_jax.errors import UserError

# gcsfs's cache of listings never expires: it would hide what TensorStore, another process or
# another host has written since.
_SETTINGS = {"use_listings_cache": False}

_PACKAGES = ("gcsfs.", "aiohttp.", "google.auth.", "google.api_core.", "requests.")


class Entry(NamedTuple):
    """An object below a folder.

    Attributes:
      name: The path relative to the folder.
      size: In bytes.
      modified_ns: When it was last written, in nanoseconds since the epoch.
    """

    name: str
    size: int
    modified_ns: int


def path(name: str) -> epath.Path:
    """Returns the path that a name means.

    Raises:
      UserError: The name isn't gs://BUCKET/..., or has a character that gcsfs reads as a pattern;
        or gcsfs isn't installed.
    """
    scheme, _, rest = name.partition("://")
    if scheme != "gs" or not rest.strip("/"):
        raise UserError(f"{name} is neither on this disk nor gs://BUCKET/FOLDER.")
    if has_magic(name):
        raise UserError(f"{name} has one of *?[, which paths in buckets can't have.")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{name} is in a bucket, which needs gcsfs: pip install -e '.[gcs]'.")
    # Otherwise epath, which Orbax uses too, would use TensorFlow where that is installed.
    os.environ.setdefault("EPATH_USE_TF", "false")
    fsspec.config.conf.setdefault("gs", {}).update(_SETTINGS)
    return epath.Path(name)


def read(source: epath.Path, most: int | None = None) -> bytes:
    """Returns an object's contents, or its first `most` bytes, in one request."""
    try:
        return _client().cat_file(str(source), end=most)
    except Exception as error:
        if most is None or getattr(error, "code", None) != 416:
            raise
        return b""  # An empty object has no first byte.


def write(target: epath.Path, data: bytes) -> None:
    """Writes an object. After an error, or if the process is killed, it is unchanged."""
    _client().pipe_file(str(target), data)


def create(target: epath.Path, data: bytes) -> None:
    """Writes an object that doesn't exist yet.

    Raises:
      FileExistsError: It exists.
    """
    _client().pipe_file(str(target), data, mode="create")


def generation(target: epath.Path) -> str:
    """Returns the number that an object gets each time it is written.

    Raises:
      FileNotFoundError: There is no such object.
    """
    return _client().info(str(target))["generation"]


def names(folder: epath.Path, prefix: str) -> list[str]:
    """Returns the names in a folder that begin with a prefix, with a single listing."""
    found = _client().find(str(folder), prefix=prefix)
    return [name[len(_key(folder)) + 1 :] for name in found]


def folders(folder: epath.Path) -> list[str]:
    """Returns the names of the folders in a folder; none if it doesn't exist."""
    try:
        found = _client().ls(str(folder), detail=True)
    except FileNotFoundError:
        return []
    names = [about["name"].rstrip("/") for about in found if about["type"] == "directory"]
    return [name.rpartition("/")[2] for name in names]


def below(folder: epath.Path) -> list[Entry]:
    """Lists all objects below a folder, sorted by name, with a single listing."""
    found = _client().find(str(folder), detail=True)
    start = len(_key(folder)) + 1
    return [
        Entry(name[start:], about["size"], int(about["mtime"].timestamp() * 1e9))
        for name, about in sorted(found.items())
    ]


def move(source: epath.Path, target: epath.Path, mark: str) -> None:
    """Moves a folder by copying each object.

    Args:
      source, target: The folder's old and new paths.
      mark: The name of a file in it. A folder without this file doesn't count. It is copied last
        and removed first, so that an interrupted move leaves one or two folders that count.
    """
    client, old, new = _client(), _key(source), _key(target)
    names = [name for name in client.find(old) if name != f"{old}/{mark}"]
    client.copy(names, [new + name.removeprefix(old) for name in names])
    client.cp_file(f"{old}/{mark}", f"{new}/{mark}")
    client.rm_file(f"{old}/{mark}")
    client.rm(old, recursive=True)


def refuse_unwritable(folder: epath.Path) -> None:
    """Checks that objects can be written below a folder.

    Raises:
      UserError: An object can't be written; the message says why.
    """
    # One name for each host, so that kills don't leave several.
    probe = str(folder / f".probe-{socket.gethostname()}.partial")
    try:
        _client().pipe_file(probe, b"")
        with contextlib.suppress(FileNotFoundError):  # Another process has the same.
            _client().rm_file(probe)
    except Exception as error:
        raise UserError(
            f"{folder} can't be written to ({explain(error) or repr(error)}). Is the bucket there, "
            "are you logged in (gcloud auth application-default login), and may you write?"
        ) from error


def explain(error: BaseException) -> str | None:
    """Returns in one line what is wrong with a bucket; None if the error isn't a bucket's."""
    kind = type(error)
    # If Google forbids a request, gcsfs raises a plain OSError without an errno.
    forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden: ")
    if not forbidden and not f"{kind.__module__}.".startswith(_PACKAGES):
        return None
    text = " ".join(str(error).split())
    return f"{kind.__name__}: {text[:300]}"


@contextlib.contextmanager
def errors_ignored() -> Iterator[None]:
    """Ignores the errors of buckets, and no others."""
    try:
        yield
    except Exception as error:
        if explain(error) is None:
            raise


@functools.cache
def _client() -> Any:
    return fsspec.filesystem("gs", **_SETTINGS)


def _key(folder: epath.Path) -> str:
    return str(folder).removeprefix("gs://")
