"""The rows of a CSV file that lists images. Errors in the file are reported with their line."""

import codecs
import collections
import csv
import io
import sys
from collections.abc import Iterator
from typing import NamedTuple

from vgg_jax.errors import UserError, some_of
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

_COLUMNS = ("path", "label", "split")
_WHAT_IT_HOLDS = "a CSV file whose first line is path,label or path,label,split"


class Row(NamedTuple):
    """One row of the file: one image.

    Attributes:
      line: Number of the line in which the row begins; the file's first line is 1.
      path: Path of the image, as written in the file.
      label: Name of its class; "" means unlabelled.
      split: Name of its split; "" if the file has no column split.
    """

    line: int
    path: str
    label: str
    split: str


class Table(NamedTuple):
    """The contents of a CSV file.

    Attributes:
      file: Its path.
      rows: Its rows, in the file's order.
      has_splits: Whether it has a column split. If not, every split consists of all rows.
    """

    file: Path
    rows: list[Row]
    has_splits: bool

    def of_split(self, split: str) -> list[Row]:
        """Returns the rows of a split, in the file's order.

        Raises:
          UserError: The split has no rows.
        """
        rows = [row for row in self.rows if row.split == split] if self.has_splits else self.rows
        if not rows:
            splits = sorted({row.split for row in self.rows})
            raise UserError(
                f"{files.printable(self.file)} has no rows of a split {split!r}; its splits are "
                f"{some_of(splits)}. Set --config.data.train_split and .val_split to names of "
                "its splits."
            )
        return rows

    def error(self, line: int, text: str) -> UserError:
        """Returns an error whose message begins with the file and the line."""
        return _error(self.file, line, text)


def read(name: str) -> Table:
    """Reads a file in UTF-8.

    Args:
      name: The file's path, on a disk or at gs://BUCKET/FILE.

    Raises:
      UserError: There is no such file, or the file has an error.
    """
    if not name:
        raise UserError(
            f"data.name is 'csv' but data.dir is empty. Set --config.data.dir to {_WHAT_IT_HOLDS}."
        )
    file = files.path(name)
    records = _records(file, _text(file))
    header_line, header = next(records, (1, []))
    _check_header(file, header_line, header)
    rows = list(_rows(file, header, records))
    if not rows:
        raise _error(file, header_line, "no row follows the header. Add one for each image.")
    return Table(file, rows, "split" in header)


def _error(file: Path, line: int, text: str) -> UserError:
    return UserError(f"{files.printable(file)}:{line}: {text}")


def _text(file: Path) -> str:
    try:
        data = files.read(file).removeprefix(codecs.BOM_UTF8)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        reason = "isn't there"
        if isinstance(error, PermissionError):
            reason = "can't be read: you lack the permission"
        elif isinstance(error, IsADirectoryError) or (files.in_bucket(file) and file.is_dir()):
            reason = "is a folder, and data.name=folder reads folders with train/CLASS/"
        raise UserError(
            f"{files.printable(file)} {reason}. Set --config.data.dir to {_WHAT_IT_HOLDS}."
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(file, line, "a character isn't UTF-8. Save the file as UTF-8.") from error


def _records(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of each row that isn't blank, with the number of its first line."""
    # newline="" keeps the line breaks within a field as they are.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise _error(
            file,
            line,
            f"this row isn't CSV ({error}). Close each quote that is opened, and write a quote "
            'within a quoted field twice: "".',
        ) from error


def _check_header(file: Path, line: int, header: list[str]) -> None:
    counts = collections.Counter(header)
    wrong = [f"has an unknown column {name!r}" for name in counts if name not in _COLUMNS]
    wrong += [f"has the column {name} {n} times" for name, n in counts.items() if n > 1]
    wrong += [f"lacks the column {name}" for name in ("path", "label") if name not in header]
    if wrong:
        raise _error(
            file,
            line,
            f"the header {', '.join(wrong)}. It must be path,label or path,label,split, in any "
            "order. Unlabelled images have an empty label.",
        )


def _rows(file: Path, header: list[str], records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    path_at, label_at = header.index("path"), header.index("label")
    split_at = header.index("split") if "split" in header else None
    for line, fields in records:
        if len(fields) != len(header):
            raise _error(
                file,
                line,
                f"the row has {len(fields)} field{'s' * (len(fields) > 1)}, but the header has "
                f"{len(header)}. Write as many, and put a field that holds a comma in quotes: "
                '"a, b".',
            )
        split = "" if split_at is None else fields[split_at]
        if not fields[path_at]:
            raise _error(file, line, "the path is empty. Name the image, or remove the row.")
        if split_at is not None and not split:
            raise _error(
                file,
                line,
                "the split is empty. Name one. To leave the image out, name a split that isn't "
                "used, such as unused.",
            )
        # Interned, because a million rows share a thousand labels.
        yield Row(line, fields[path_at], sys.intern(fields[label_at]), sys.intern(split))
