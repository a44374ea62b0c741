"""Images that a CSV file lists. Its first line is path,label or path,label,split."""

import hashlib
import os
import posixpath
import stat

import numpy as np

from vgg_jax.data import csv_table, image_files
from vgg_jax.data.csv_table import Row, Table
from vgg_jax.data.source import Example, hashed
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import some_of
from vgg_jax.storage import files, gcs


class CsvSource:
    """The rows of one split, or all rows if the file has no column split.

    Paths are relative to the file's folder; on a disk they may be absolute. The examples are sorted
    by path, whatever the order of the rows.
    """

    default_val_split = "val"

    def __init__(self, data: DataSpec, split: str) -> None:
        table = csv_table.read(data.directory)
        if split == data.train_split and not data.held_out:
            _refuse_untrainable(table, split, data.val_split or self.default_val_split)
        rows = sorted(table.of_split(split), key=lambda row: row.path)
        self.class_names = _class_names(table, rows)
        _refuse_doubled(table, rows)
        images = _images(table, rows)
        self._root = table.file.parent
        # Arrays, because each worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._paths = np.array([row.path.encode() for row in rows])
        label_of = {name: label for label, name in enumerate(self.class_names)} or {"": -1}
        self._labels = np.array([label_of[row.label] for row in rows], np.int32)
        # Lengths, because paths and labels may contain any character.
        index = "".join(
            f"{len(row.path)}:{row.path}{len(row.label)}:{row.label}{image.size}\n"
            for row, image in zip(rows, images, strict=True)
        )
        self.fingerprint = hashlib.sha256(index.encode()).hexdigest()
        newest_ns = max(image.modified_ns for image in images)
        self.contents_key = hashed(self.fingerprint, split, newest_ns)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        path = self._root / os.fsdecode(bytes(self._paths[index]))
        return image_files.read(path, self.label(index))

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """See `Source`. It is the path as written in the file."""
        return bytes(self._paths[index]).decode()


def _refuse_untrainable(table: Table, train_split: str, val_split: str) -> None:
    """Checks that both splits are there, and that they have the same labels."""
    if train_split == val_split:
        return
    if not table.has_splits:
        raise table.error(
            1,
            "the file has no column split, so no rows are left to validate on. Add the column, or "
            "hold N of the images out: --config.data.held_out=N.",
        )
    labels = {
        split: {row.label for row in table.of_split(split)} - {""}
        for split in (train_split, val_split)
    }
    differing = labels[train_split] ^ labels[val_split]
    if all(labels.values()) and differing:
        row = next(r for r in table.rows if r.split in labels and r.label in differing)
        (other,) = labels.keys() - {row.split}
        others = sorted(differing - {row.label})
        more = f"; these also occur in only one of them: {some_of(others)}" if others else ""
        raise table.error(
            row.line,
            f"the label {row.label!r} occurs in {row.split!r} but not in {other!r}{more}. Both "
            "must have the same labels. Correct them, or remove the rows.",
        )


def _class_names(table: Table, rows: list[Row]) -> tuple[str, ...]:
    labels = {row.label for row in rows}
    if labels == {""}:
        return ()
    if "" in labels:
        line = min(row.line for row in rows if not row.label)
        raise table.error(
            line,
            "the label is empty, but other images of the split have one. Label all of them, or "
            "none.",
        )
    return tuple(sorted(labels))


def _refuse_doubled(table: Table, rows: list[Row]) -> None:
    if len({posixpath.normpath(row.path) for row in rows}) == len(rows):
        return
    lines: dict[str, int] = {}
    for row in sorted(rows):
        first = lines.setdefault(posixpath.normpath(row.path), row.line)
        if first != row.line:
            raise table.error(
                row.line,
                f"line {first} names the image {row.path} already, for the same split. Remove one "
                "of the two rows.",
            )


def _images(table: Table, rows: list[Row]) -> list[gcs.Entry]:
    """Finds the image of each row."""
    root = table.file.parent
    if files.in_bucket(root):
        _refuse_outside(table, rows)
        below = {entry.name: entry for entry in gcs.below(root)}
        found = [below.get(posixpath.normpath(row.path)) for row in rows]
    else:
        folder = os.fsencode(root)
        found = [_on_disk(folder, row.path) for row in rows]
    missing = sorted(row for row, image in zip(rows, found, strict=True) if image is None)
    if missing:
        first, *others = missing
        lines = some_of([str(row.line) for row in others])
        more = f"; {len(others):,} more are missing, in lines {lines}" if others else ""
        path = files.printable(root / os.fsdecode(first.path.encode()))
        raise table.error(
            first.line,
            f"there is no image {path}{more}. Paths are relative to the CSV file's folder. Correct "
            "them, or remove the rows.",
        )
    return found


def _refuse_outside(table: Table, rows: list[Row]) -> None:
    for row in sorted(rows):
        parts = row.path.split("/")
        if not parts[0] or ".." in parts or "://" in row.path:
            raise table.error(
                row.line,
                f"{row.path} doesn't lie below the CSV file's folder. Images of a CSV "
                "file in a bucket must lie there, with paths relative to that folder.",
            )


def _on_disk(folder: bytes, path: str) -> gcs.Entry | None:
    try:
        # Python's encoding of paths may be ASCII, as under a bare cron. This path is UTF-8.
        found = os.stat(os.path.join(folder, path.encode()))
    except (OSError, ValueError):  # ValueError: the path contains a NUL.
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return gcs.Entry(path, found.st_size, found.st_mtime_ns)


SOURCE = CsvSource
