"""JSON files that carry a digest of their values, and so tell whether they are damaged.

The digest finds accidents. It protects from nobody who changes a file on purpose.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vgg_jax.errors import UserError
from vgg_jax.storage import files, unread
from vgg_jax.storage.files import Path

T = TypeVar("T")

VERSION = 1
MAX_BYTES = 1 << 26  # The largest files are a few MB: results of splits with many classes.

_KEY = "sealed"
_said: list[Path] = []  # The file of which it was said that it has no digest.
# The errors of json, and of code that reads its values and expects others.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError)


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values with a last key, "sealed", that holds the version and their SHA-256."""
    return {**values, _KEY: {"version": VERSION, "sha256": digest(values)}}


def unseal(values: Any, path: Path) -> dict[str, Any]:
    """Inverts `seal`. Values of an earlier version, without a seal, are returned as they are.

    Args:
      values: The values of a file.
      path: The file, for the line that says once that files of an earlier version have no digest.

    Raises:
      ValueError: The values are not those that were sealed, or no values of this kind.
    """
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__} instead of keys and values")
    if _KEY not in values:
        if any(isinstance(v, dict) and "sha256" in v for v in values.values()):
            raise ValueError(f"the name of its key {_KEY!r} is damaged")
        say_once_that_it_has_no_digest(path)
        return values
    rest = {key: value for key, value in values.items() if key != _KEY}
    refuse_other(values[_KEY], digest(rest))
    return rest


def refuse_other(sealed: Any, sha256: str) -> None:
    """Checks a seal, the version and the digest of what was written.

    Args:
      sealed: The seal.
      sha256: The digest of what is there now.

    Raises:
      ValueError: The seal is damaged, or has another digest.
    """
    if not isinstance(sealed, dict) or not isinstance(sealed.get("version"), int):
        raise ValueError('its key "sealed" is damaged')
    if sealed["version"] > VERSION:
        raise ValueError("a newer version of vgg-jax wrote it; update this one")
    if sealed.get("sha256") != sha256:
        raise ValueError("its values are not those that were written: their digest differs")


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values as JSON, with a digest."""
    files.write_text(path, json.dumps(seal(values), indent=2) + "\n")


def read(path: Path, parse: Callable[[dict[str, Any]], T], remedy: str) -> T:
    """Reads the values of a file that `write` wrote, in this version or an earlier one.

    Args:
      path: The file.
      parse: Makes the result from the values, and raises ValueError, KeyError or a similar error
        for other values than the file should hold.
      remedy: The end of the error's message: what to do about a damaged or missing file.

    Raises:
      UserError: The file is missing, can't be read, is damaged, or holds other values than it
        should.
    """
    try:
        return parse(unseal(load(path), path))
    except (OSError, *_UNREADABLE) as error:
        unread.refuse(path, error)
        what = f"damaged ({reason(error)})" if path.exists() else "missing"
        raise UserError(f"{path} is {what}. {remedy}") from error


def is_sealed(path: Path) -> bool:
    """Returns whether a file that isn't damaged carries a digest."""
    return _KEY in load(path)


def load(path: Path) -> Any:
    """Returns the values of a JSON file, which may be any, digest included.

    Raises:
      OSError, ValueError, RecursionError: The file can't be read, is too large, or isn't JSON.
    """
    if not path.exists():
        raise ValueError("it is missing")
    if not path.is_file():
        raise ValueError("it is not a file")
    if files.size(path) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return json.loads(files.read(path).decode("utf-8"))


def reason(error: Exception) -> str:
    """Returns in a few words why a file can't be read."""
    match error:
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return "it is not JSON"
        case OSError(strerror=str()):
            return error.strerror
        case KeyError():
            return f"it lacks {error}"
        case ValueError():
            return str(error)
    return f"{type(error).__name__}: {error}"


def require_types(values: Any, expected: Mapping[str, Any]) -> None:
    """Checks the types of values.

    Args:
      values: A dict, which may have more keys than are expected.
      expected: The type of each key's value, or a dict like this one for nested values.

    Raises:
      ValueError: A key is missing, or its value has another type.
    """
    for key, kind in expected.items():
        if not isinstance(values, dict) or key not in values:
            raise ValueError(f"it lacks {key!r}")
        if isinstance(kind, Mapping):
            require_types(values[key], kind)
        # To Python, True is an int too.
        elif not isinstance(values[key], kind) or (
            kind is not bool and isinstance(values[key], bool)
        ):
            raise ValueError(f"its {key!r} is {str(values[key])[:80]!r}")


def say_once_that_it_has_no_digest(path: Path) -> None:
    """Says, once in a process, that files of an earlier version have no digest."""
    if not _said:
        _said.append(path)
        print(
            f"{path} carries no digest, because an earlier version wrote it. Damage to such files "
            "may go unnoticed.",
            file=sys.stderr,
        )


def digest(values: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of values, in hexadecimal."""
    values = json.loads(json.dumps(values))  # They are compared as they come back: tuples as lists.
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
