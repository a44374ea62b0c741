"""Images that a CSV file lists. Its first line is path,label or path,label,split."""

import codecs
import collections
import csv
import io
import sys
from collections.abc import Iterator

from vgg_jax.data.listed_images import ListedImages, Listing, Row, line_error
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

_COLUMNS = ("path", "label", "split")
_WHAT_IT_HOLDS = "a CSV file whose first line is path,label or path,label,split"


class CsvSource(ListedImages):
    """One split of a CSV file in UTF-8, or all of it if it has no column split."""

    def __init__(self, data: DataSpec, split: str) -> None:
        super().__init__(read(data.directory), data, split)


def read(name: str) -> Listing:
    """Reads a CSV file.

    Raises:
      UserError: There is no such file, or it has an error; the message names the line.
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
        raise line_error(file, header_line, "no row follows the header. Add one for each image.")
    return Listing(file, rows, "split" in header)


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
        raise line_error(file, line, "a character isn't UTF-8. Save the file as UTF-8.") from error


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
        raise line_error(
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
        raise line_error(
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
            raise line_error(
                file,
                line,
                f"the row has {len(fields)} field{'s' * (len(fields) > 1)}, but the header has "
                f"{len(header)}. Write as many, and put a field that holds a comma in quotes: "
                '"a, b".',
            )
        split = "" if split_at is None else fields[split_at]
        if not fields[path_at]:
            raise line_error(file, line, "the path is empty. Name the image, or remove the row.")
        if split_at is not None and not split:
            raise line_error(
                file,
                line,
                "the split is empty. Name one. To leave the image out, name a split that isn't "
                "used, such as unused.",
            )
        # Interned, because a million rows share a thousand labels.
        yield Row(line, fields[path_at], sys.intern(fields[label_at]), sys.intern(split))


SOURCE = CsvSource
