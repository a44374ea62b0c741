"""The headers of tar archives: where each file of an archive begins."""

import os
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from vgg_jax.data import image_files
from vgg_jax.errors import UserError

# `tar` pads an archive with zeros to whole records. They have 10 KiB by default, and few people ask
# for larger ones than this. A file that was made at its full size before its download, and not
# filled, ends in far more zeros. Fewer can't be told from padding.
_MOST_PADDING = 2**20


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
      name: Its name, without folders.
      begin: The position of its first byte in the file that holds the archive.
      size: Its size in bytes.
    """

    name: str
    begin: int
    size: int


class Archive(NamedTuple):
    """A tar archive within a file.

    Attributes:
      descriptor: The file, open for reading.
      begin, end: The position of the archive's first byte, and that after its last one.
      name: What to call it in messages.
    """

    descriptor: int
    begin: int
    end: int
    name: str

    def members(self) -> Iterator[Member]:
        """Yields the files that aren't hidden. Only the headers are read, 512 bytes per file.

        Raises:
          UserError: The archive is truncated, damaged or compressed, or goes on after its end; or
            has an entry that is neither a file nor a folder.
        """
        before = "its beginning"
        # TarFile.next takes a truncated or damaged header for the end of the archive.
        for info in self._headers():
            if isinstance(info, str):
                raise UserError(
                    f"{self.name} is truncated or damaged: after {before} {info}. Download it "
                    "again."
                )
            end = self.begin + info.offset_data + info.size
            if info.isreg() and end > self.end:
                raise UserError(
                    f"{self.name} is truncated: it ends within {info.name}. Download it again."
                )
            before = info.name
            name = os.path.basename(info.name)
            if info.isdir() or image_files.is_hidden(name):
                continue
            if not info.isreg():
                raise UserError(
                    f"{info.name} in {self.name} is neither a file nor a folder. Make the archive "
                    "again without it."
                )
            yield Member(name, self.begin + info.offset_data, info.size)

    def _headers(self) -> Iterator[tarfile.TarInfo | str]:
        """Yields the headers, and at damage what there is instead of a header or the end."""
        part, damaged = _Part(self), "there is neither a file nor the end of the archive"
        try:
            tar = tarfile.TarFile(fileobj=part)
            tar.offset = 0
            while any(part.block(tar.offset)):  # A block of zeros ends an archive.
                begin = tar.offset
                part.seek(begin)
                info = tarfile.TarInfo.fromtarfile(tar)
                if tar.offset <= begin:  # A negative size would lead back.
                    raise tarfile.HeaderError("negative size")
                yield info
            if not part.block(tar.offset):
                yield damaged
            num_bytes = self.end - self.begin - tar.offset
            part.seek(tar.offset)
            if num_bytes > _MOST_PADDING or any(part.read(num_bytes)):
                yield f"it ends, but {num_bytes:,} more bytes follow"
        except (tarfile.TarError, ValueError):  # Damaged numbers in a header of pax.
            yield damaged


class _Part:
    """What `tarfile` needs of a file object, for a part of a file."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._position = archive, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, num_bytes: int) -> bytes:
        begin = self._archive.begin + self._position
        num_bytes = max(0, min(num_bytes, self._archive.end - begin))
        data = os.pread(self._archive.descriptor, num_bytes, begin)
        self._position += len(data)
        return data

    def block(self, position: int) -> bytes:
        self.seek(position)
        return self.read(tarfile.BLOCKSIZE)
