"""Images that a file lists, one per row, with their labels and splits.

Errors in the file are reported with their line. The format of the file is the business of a source
in `sources`, such as `csv`.
"""

import hashlib
import os
import posixpath
import stat
from typing import NamedTuple

import numpy as np

from vgg_jax.data import image_files
from vgg_jax.data.source import Example, hashed
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, some_of
from vgg_jax.storage import files, gcs
from vgg_jax.storage.files import Path


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


class Listing(NamedTuple):
    """The contents of a file that lists images.

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
                f"{some_of(splits)}. Set --config.data.train_split and .val_split, or --split of "
                "vgg_jax.features, to names of its splits."
            )
        return rows

    def error(self, line: int, text: str) -> UserError:
        """Returns an error whose message begins with the file and the line."""
        return line_error(self.file, line, text)


def line_error(file: Path, line: int, text: str) -> UserError:
    """Returns an error whose message begins with the file and the line."""
    return UserError(f"{files.printable(file)}:{line}: {text}")


class ListedImages:
    """The rows of one split, or all rows if the file has no column split.

    Paths are relative to the file's folder; on a disk they may be absolute. The examples are sorted
    by path, whatever the order of the rows.
    """

    default_val_split = "val"

    def __init__(self, listing: Listing, data: DataSpec, split: str) -> None:
        """Opens a split.

        Args:
          listing: What the file lists.
          data: The config's data, with the split to train on.
          split: The name of the split.

        Raises:
          UserError: The split has no rows, an image isn't there or is listed twice, or labels are
            missing; or the splits to train and validate on differ in their labels, or share images.
        """
        val_split = data.val_split or self.default_val_split
        is_trained_on = split == data.train_split != val_split and not data.held_out
        if is_trained_on:
            _refuse_untrainable(listing, split, val_split)
        rows = sorted(listing.of_split(split), key=lambda row: row.path)
        self.class_names = _class_names(listing, rows)
        _refuse_doubled(listing, rows + (listing.of_split(val_split) if is_trained_on else []))
        images = _images(listing, rows)
        self._root = listing.file.parent
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


def _refuse_untrainable(listing: Listing, train_split: str, val_split: str) -> None:
    """Checks that both splits are there, and that they have the same labels."""
    if not listing.has_splits:
        raise listing.error(
            1,
            "the file has no column split, so no rows are left to validate on. Add the column, or "
            "hold N of the images out: --config.data.held_out=N.",
        )
    labels = {
        split: {row.label for row in listing.of_split(split)} - {""}
        for split in (train_split, val_split)
    }
    differing = labels[train_split] ^ labels[val_split]
    if all(labels.values()) and differing:
        row = next(r for r in listing.rows if r.split in labels and r.label in differing)
        (other,) = labels.keys() - {row.split}
        others = sorted(differing - {row.label})
        more = f"; these also occur in only one of them: {some_of(others)}" if others else ""
        raise listing.error(
            row.line,
            f"the label {row.label!r} occurs in {row.split!r} but not in {other!r}{more}. Both "
            "must have the same labels. Correct them, or remove the rows.",
        )


def _class_names(listing: Listing, rows: list[Row]) -> tuple[str, ...]:
    labels = {row.label for row in rows}
    if labels == {""}:
        return ()
    if "" in labels:
        line = min(row.line for row in rows if not row.label)
        raise listing.error(
            line,
            "the label is empty, but other images of the split have one. Label all of them, or "
            "none.",
        )
    return tuple(sorted(labels))


def _refuse_doubled(listing: Listing, rows: list[Row]) -> None:
    if len({posixpath.normpath(row.path) for row in rows}) == len(rows):
        return
    named: dict[str, Row] = {}
    for row in sorted(rows):
        first = named.setdefault(posixpath.normpath(row.path), row)
        if first != row:
            split = "the same split"
            if first.split != row.split:
                split = f"{first.split!r}, and no run may validate on images that it is trained on"
            raise listing.error(
                row.line,
                f"line {first.line} names the image {row.path} already, for {split}. Remove one of "
                "the two rows.",
            )


def _images(listing: Listing, rows: list[Row]) -> list[gcs.Entry]:
    """Finds the image of each row."""
    root = listing.file.parent
    if files.in_bucket(root):
        _refuse_outside(listing, rows)
        below = {entry.name: entry for entry in gcs.below(root)}
        found = [below.get(posixpath.normpath(row.path)) for row in rows]
    else:
        folder = os.fsencode(root)
        found = [_on_disk(folder, row.path) for row in rows]
    missing = sorted(row for row, image in zip(rows, found, strict=True) if image is None)
    if missing:
        first, *others = missing
        lines = some_of([str(row.line) for row in others])
        more = f", nor those of {len(others):,} more lines: {lines}" if others else ""
        path = files.printable(root / os.fsdecode(first.path.encode()))
        raise listing.error(
            first.line,
            f"there is no image {path}{more}. Paths are relative to the file's folder. Correct "
            "them, or remove the rows.",
        )
    return found


def _refuse_outside(listing: Listing, rows: list[Row]) -> None:
    for row in sorted(rows):
        parts = row.path.split("/")
        if not parts[0] or ".." in parts or "://" in row.path:
            raise listing.error(
                row.line,
                f"{row.path} doesn't lie below the file's folder. In a bucket all images must lie "
                "there, with paths relative to that folder.",
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
