"""The first directory of a TIFF file, or of EXIF data, which is one."""

import struct
from typing import NamedTuple

_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # The types of integers, and those of `struct`.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_MOST_READ = 8  # Of a tag with more values, such as the offsets of strips, no integer is kept.


class Directory(NamedTuple):
    """What a directory says.

    Attributes:
      integers: The largest integer of each tag of few integers. Libraries don't agree on which one
        counts if a tag occurs several times.
      claimed_bytes: The bytes that Pillow reads for all tags together. Tags may share bytes of the
        file, so that it can be many times as long as the file.
    """

    integers: dict[int, int]
    claimed_bytes: int


def read(data: bytes) -> Directory:
    """Reads the first directory as far as it is there. It is empty if the data isn't a TIFF's."""
    integers: dict[int, int] = {}
    claimed = 0
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        if order is None:
            return Directory(integers, claimed)
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        word, inline = ("Q", 8) if big else ("I", 4)
        (at,) = struct.unpack_from(f"{order}{word}", data, inline)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
        at += 8 if big else 2
        entry = struct.Struct(f"{order}HH{word}{word}")
        for place in range(at, at + count * entry.size, entry.size):
            tag, kind, length, where = entry.unpack_from(data, place)
            size = length * _SIZES.get(kind, 0)
            if size <= inline:
                where = place + entry.size - inline
            elif size <= len(data):
                claimed += size
            if kind in _CODES and 0 < length <= _MOST_READ:
                values = struct.unpack_from(f"{order}{length}{_CODES[kind]}", data, where)
                integers[tag] = max(integers.get(tag, 0), *values)
    except struct.error:  # The file ends here.
        pass
    return Directory(integers, claimed)
