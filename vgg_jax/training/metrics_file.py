"""Reads metrics.jsonl, and checks its lines against those that checkpoints know of."""

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vgg_jax.errors import UserError
from vgg_jax.runs import record
from vgg_jax.storage import files, sealed_json, unread
from vgg_jax.storage.files import Path

Record = dict[str, str | int | float]

NAME = "metrics.jsonl"


def read(workdir: Path, kind: str) -> list[Record]:
    """Reads the records of one kind, "train" or "val", in the order of their steps.

    Raises:
      UserError: A line is damaged, or lines are missing or not those that were written before the
        last checkpoint.
    """
    mark = last_mark(workdir)  # Read first: a run that trains there writes lines, then marks.
    found = lines(workdir)
    if mark is not None:
        marked(found, mark, workdir)
    records = [parsed(line, number, workdir) for number, line in enumerate(found, 1)]
    return [values for values in records if values["kind"] == kind]


def lines(workdir: Path) -> list[bytes]:
    """Reads the lines, except for an incomplete last one, which a killed process can leave.

    Raises:
      UserError: The file can't be read.
    """
    path = workdir / NAME
    try:
        text = files.read(path) if path.exists() else b""
    except OSError as error:
        unread.refuse(path, error)
        raise _damaged(workdir, sealed_json.reason(error)) from error
    return [line + b"\n" for line in text.split(b"\n")[:-1]]


def mark_of(written: Sequence[bytes]) -> dict[str, Any]:
    """Returns what a checkpoint keeps of the lines that were written before it."""
    return {"lines": len(written), "sha256": hashlib.sha256(b"".join(written)).hexdigest()}


def marked(found: list[bytes], mark: Mapping[str, Any], workdir: Path) -> list[bytes]:
    """Returns the lines that were written before a checkpoint.

    Args:
      found: The lines of the file.
      mark: What the checkpoint keeps of them: see `mark_of`.
      workdir: The run's workdir.

    Raises:
      UserError: Lines are missing, or are others.
    """
    count = mark["lines"]
    if len(found) < count:
        raise _damaged(workdir, f"it holds {len(found):,} of {count:,} lines")
    if mark_of(found[:count]) != mark:
        raise _damaged(workdir, f"its first {count:,} lines are not those that were written")
    return found[:count]


def parsed(line: bytes, number: int, workdir: Path) -> Record:
    """Returns the record of a line.

    Raises:
      UserError: It is damaged. The message has its number, counted from 1.
    """
    try:
        values = json.loads(line.decode("utf-8"))
        sealed_json.require_types(values, {"kind": str, "step": int, "loss": (int, float)})
        numbers = dict.fromkeys(values.keys() - {"kind"}, (int, float))
        sealed_json.require_types(values, numbers)
        if not all(math.isfinite(values[name]) for name in numbers):
            raise ValueError("a value is not finite")
    except (ValueError, RecursionError, OverflowError) as error:
        raise _damaged(workdir, f"line {number}: {sealed_json.reason(error)}") from error
    return values


def last_mark(workdir: Path) -> Mapping[str, Any] | None:
    """Returns what the last checkpoint keeps of the lines; None if it keeps nothing."""
    return record.last_progress(workdir).get("log")


def _damaged(workdir: Path, reason: str) -> UserError:
    what = f"damaged ({reason})" if (workdir / NAME).exists() else "missing"
    return UserError(
        f"{workdir / NAME} is {what}. Restore it from a copy. This run can't go on "
        "without it, but another can start from its parameters: --workdir=NEW "
        f"--config.init_layers=all --config.init_from={shlex.quote(str(files.absolute(workdir)))}."
    )
