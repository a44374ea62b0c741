"""Buckets of Google Cloud Storage: what epath leaves open, through gcsfs."""

import contextlib
import functools
import importlib.util
import os
import uuid
from collections.abc import Iterator
from glob import has_magic
from typing import Any, NamedTuple

import fsspec
from etils import epath

from vgg_jax.errors import UserError

# gcsfs never forgets what it has listed: not what TensorStore, another process or another host
# has written since.
_SETTINGS = {"use_listings_cache": False}

_PACKAGES = ("gcsfs.", "aiohttp.", "google.auth.", "google.api_core.", "requests.")


class Entry(NamedTuple):
    """An object below a folder.

    Attributes:
      name: The path from the folder on.
      size: How many bytes it has.
      modified_ns: When it was last written, in nanoseconds of the epoch.
    """

    name: str
    size: int
    modified_ns: int


def path(name: str) -> epath.Path:
    """Returns the path of that name.

    Raises:
      UserError: It isn't gs://BUCKET/..., or holds what gcsfs takes for a pattern; or gcsfs isn't
        installed.
    """
    scheme, _, rest = name.partition("://")
    if scheme != "gs" or not rest.strip("/"):
        raise UserError(f"{name} is neither on this disk nor gs://BUCKET/FOLDER.")
    if has_magic(name):
        raise UserError(f"{name} has one of *?[, which paths in buckets must do without.")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{name} lies in a bucket, which needs gcsfs: pip install -e '.[gcs]'.")
    # Orbax takes epath's own gcsfs, or TensorFlow's where that is installed.
    os.environ.setdefault("EPATH_USE_TF", "false")
    fsspec.config.conf.setdefault("gs", {}).update(_SETTINGS)
    return epath.Path(name)


def read(source: epath.Path) -> bytes:
    """Returns an object's contents, in one request."""
    return _client().cat_file(str(source))


def write(target: epath.Path, data: bytes) -> None:
    """Writes an object; after an error, or killed on the way, it is what it was."""
    _client().pipe_file(str(target), data)


def below(folder: epath.Path) -> list[Entry]:
    """Lists all objects below a folder, in one pass over its pages."""
    found = _client().find(str(folder), detail=True)
    start = len(_key(folder)) + 1
    return [
        Entry(name[start:], about["size"], int(about["mtime"].timestamp() * 1e9))
        for name, about in sorted(found.items())
    ]


def move(source: epath.Path, target: epath.Path, mark: str) -> None:
    """Moves a folder by copying each object.

    Args:
      source, target: Folders.
      mark: The file in it without which the folder doesn't count. It is copied last and removed
        first, so that a move which was cut short leaves one folder that counts, or two.
    """
    client, whence, to = _client(), _key(source), _key(target)
    names = [name for name in client.find(whence) if name != f"{whence}/{mark}"]
    client.copy(names, [to + name.removeprefix(whence) for name in names])
    client.cp_file(f"{whence}/{mark}", f"{to}/{mark}")
    client.rm_file(f"{whence}/{mark}")
    client.rm(whence, recursive=True)


def refuse_unwritable(folder: epath.Path) -> None:
    """Checks that objects can be written below a folder.

    Raises:
      UserError: They can't; the message says why.
    """
    probe = str(folder / f".{uuid.uuid4().hex}.partial")
    try:
        _client().pipe_file(probe, b"")
        _client().rm_file(probe)
    except Exception as error:
        raise UserError(
            f"{folder} can't be written to ({explain(error) or repr(error)}). Is the bucket there, "
            "are you logged in (gcloud auth application-default login), and may you write?"
        ) from error


def explain(error: BaseException) -> str | None:
    """Returns in a line what is wrong with a bucket; None where an error isn't a bucket's."""
    kind = type(error)
    # What Google forbids is a plain OSError without a number.
    forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden: ")
    if not forbidden and not f"{kind.__module__}.".startswith(_PACKAGES):
        return None
    text = " ".join(str(error).split())
    return f"{kind.__name__}: {text[:300]}"


@contextlib.contextmanager
def errors_ignored() -> Iterator[None]:
    """Goes on after an error that is a bucket's."""
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
