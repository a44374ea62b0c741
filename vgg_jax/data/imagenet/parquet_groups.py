"""Reads the images of parquet shards, a row group at a time."""

import os
import pathlib
import threading
from typing import Any

import numpy as np

from vgg_jax.data import decode_budget
from vgg_jax.data.imagenet.parquet_shards import BYTES, Shard
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files

_BUFFER_BYTES = 2**20  # Otherwise pyarrow holds a row group's compressed bytes as a whole.


class _Kept(threading.local):
    """The row group that a thread has read last. Threads and processes share nothing."""

    place: tuple[pathlib.Path, int, int] | None = None
    images: Any = None


_kept = _Kept()


class RowGroups:
    """The row groups of all shards of a split, in order.

    Attributes:
      starts: The index of the first image of each row group, in ascending order.
    """

    def __init__(self, shards: list[Shard]) -> None:
        """Checks that the row groups fit into the memory for decoding.

        Raises:
          UserError: A row group needs more than `decode_budget` has for a file.
        """
        rows = np.concatenate([shard.group_rows for shard in shards])
        self._bytes = np.concatenate([shard.group_bytes for shard in shards])
        self._shards = np.repeat(np.arange(len(shards)), [len(s.group_rows) for s in shards])
        self._numbers = np.concatenate([np.arange(len(shard.group_rows)) for shard in shards])
        self._paths = tuple(shard.path for shard in shards)
        self._modified_ns = tuple(shard.modified_ns for shard in shards)
        self._ends = np.cumsum(rows)
        self.starts = self._ends - rows
        self._refuse_large()

    def key(self, index: int) -> str:
        """Returns the shard and the row of an image: FILE[row]."""
        shard = self._shards[self._group(index)]
        first = self.starts[np.searchsorted(self._shards, shard)]
        return f"{files.printable(self._paths[shard])}[{index - first}]"

    def image(self, index: int, key: str) -> bytes:
        """Returns the bytes of an image.

        Args:
          index: The image's index in the split.
          key: Its name in errors.

        Raises:
          UndecodableError: The image is null, or its row group is damaged.
          UserError: The shard can't be read, or has changed.
        """
        group = self._group(index)
        image = self._images(group, key)[index - int(self.starts[group])].as_py()
        if image is None or image["bytes"] is None:
            raise UndecodableError(key, "its bytes are null: they aren't in the parquet file")
        return image["bytes"]

    def _group(self, index: int) -> int:
        return int(np.searchsorted(self._ends, index, side="right"))

    def _images(self, group: int, key: str) -> Any:
        shard, number = self._shards[group], int(self._numbers[group])
        place = self._paths[shard], self._modified_ns[shard], number
        if _kept.place != place:
            _kept.place = _kept.images = None  # It is freed before the next one is read.
            images = self._read(group, self._paths[shard], number, key)
            _kept.place, _kept.images = place, images
        return _kept.images

    def _read(self, group: int, path: pathlib.Path, number: int, key: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # pyarrow's readers can't be shared by threads. Opening one takes less than 0.3 ms.
            with (
                decode_budget.room("file", int(self._bytes[group])),
                pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file,
            ):
                table = file.read_row_group(number, columns=[BYTES], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(
                    f"{files.printable(path)} can't be read at present: {os.strerror(error.errno)}."
                ) from error
            reason = str(error).splitlines()[0]
            raise UndecodableError(key, f"row group {number} is damaged: {reason}") from error
        if table.num_rows != self._ends[group] - self.starts[group]:
            raise UserError(f"{files.printable(path)} has changed since it was opened.")
        return table.column("image")

    def _refuse_large(self) -> None:
        largest = int(self._bytes.argmax())
        if self._bytes[largest] > decode_budget.most_bytes("file"):
            raise UserError(
                f"{files.printable(self._paths[self._shards[largest]])}: the images of its row "
                f"group {self._numbers[largest]} have {self._bytes[largest] / 1e6:,.0f} MB. Set "
                f"--config.data.decode_bytes={4 * self._bytes[largest]} or more, or write smaller "
                "row groups."
            )
