"""The sizes of the AV1 frames in an AVIF file, which its container may claim to be smaller."""

import re
import struct
from collections.abc import Iterator

_MOST_ITEMS, _MOST_UNITS = 1000, 100  # More are not looked at.
_SEQUENCE_HEADER = 1
_BOX = re.compile(rb"iloc|stco|co64")


def largest(data: bytes) -> tuple[int, int]:
    """Returns the largest width and the largest height that sequence headers name, or (0, 0)."""
    sizes = [size for place in _places(data) for size in _sizes(data, place)]
    return max((w for w, _ in sizes), default=0), max((h for _, h in sizes), default=0)


def _places(data: bytes) -> Iterator[int]:
    """Yields where the coded images begin, as the tables of items and of tracks say."""
    for box in _BOX.finditer(data):
        try:
            if box[0] == b"iloc":
                yield from _places_of_items(data, box.end())
            else:
                word = "I" if box[0] == b"stco" else "Q"
                (count,) = struct.unpack_from(">I", data, box.end() + 4)
                count = min(count, _MOST_ITEMS)
                yield from struct.unpack_from(f">{count}{word}", data, box.end() + 8)
        except struct.error:  # The data ends here.
            pass


def _places_of_items(data: bytes, at: int) -> Iterator[int]:
    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise struct.error
        return int.from_bytes(data[at - size : at], "big")

    version, _, sizes = number(1), number(3), number(2)
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    inner = [found.end() for found in re.finditer(b"idat", data)]
    for _ in range(min(number(4 if version == 2 else 2), _MOST_ITEMS)):
        number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        for extent in range(number(2)):
            number(index_size if version else 0)
            place = base + number(offset_size)
            number(length_size)
            if extent == 0:
                yield from [start + place for start in inner] if method else [place]


def _sizes(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yields the sizes in the sequence headers of a series of AV1's units (OBUs)."""
    for _ in range(_MOST_UNITS):
        if at >= len(data):
            return
        head, at = data[at], at + 1
        at += head >> 2 & 1  # The extension of the head.
        length, shift = len(data), 0
        if head >> 1 & 1:
            length = 0
            while at < len(data) and shift < 56:
                byte, at = data[at], at + 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _size(data[at : at + min(length, 1000)])
        at += length


def _size(header: bytes) -> tuple[int, int]:
    """Returns the largest frame of a sequence header (AV1's specification, 5.5.1)."""
    bits, left = int.from_bytes(header + bytes(8), "big"), 8 * len(header) + 64

    def read(count: int) -> int:
        nonlocal left
        left = max(0, left - count)
        return bits >> left & ((1 << count) - 1)

    read(4)  # The profile, and whether it is a still picture.
    if read(1):  # A reduced header.
        read(5)
    else:
        delay_bits = 0
        if read(1):  # Timing.
            read(64)
            if read(1):
                zeros = 0
                while not read(1) and left:
                    zeros += 1
                read(zeros)
            if read(1):  # The model of a decoder.
                delay_bits = read(5) + 1
                read(42)
        display_delay = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if delay_bits and read(1):
                read(2 * delay_bits + 1)
            if display_delay and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1
