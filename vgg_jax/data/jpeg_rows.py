"""JPEG files that are cut down to their first rows, so that a decoder does no more than these.

A decoder stops at the height that the file's header names. It computes a row from the file's
coefficients for it and for the rows next to it. So the rows above a lower height are the same to
the bit.
"""

import io
from typing import NamedTuple

import numpy as np

_START = b"\xff\xd8"
_START_OF_SCAN, _END = 0xDA, 0xD9
# Progressive frames may be smoothed over more rows, and all others are rare.
_SEQUENTIAL_FRAMES = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_BELOW = 4  # The rows below a row that the upsampling of its chroma needs, rounded up.


class _Header(NamedTuple):
    """The positions of the height, which has two bytes, and of the first byte after the header."""

    height: int
    end: int


def is_jpeg(data: bytes) -> bool:
    """Returns whether data begin as a JPEG file."""
    return data.startswith(_START)


def shortened(data: bytes, num_rows: int) -> io.BytesIO | None:
    """Returns a JPEG file of which a decoder decodes the first rows, and a few more.

    Args:
      data: The bytes of a JPEG file.
      num_rows: How many rows must be the same as in the whole image.

    Returns:
      The file; None if the whole image must be decoded, because all rows are needed, or the file
      is progressive, of a rare kind or damaged.
    """
    header = _header(data)
    if header is None:
        return None
    height = int.from_bytes(data[header.height : header.height + 2], "big")
    if num_rows + _BELOW >= height or not _is_one_scan(data, header.end):
        return None
    file = io.BytesIO(data)
    file.seek(header.height)
    file.write((num_rows + _BELOW).to_bytes(2, "big"))
    file.seek(0)
    return file


def _header(data: bytes) -> _Header | None:
    """Returns the positions of a sequential file; None for others."""
    height, at = None, len(_START)
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        begin, at = at, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SEQUENTIAL_FRAMES:
            height = begin + 5
        elif marker in _OTHER_FRAMES:
            return None
        elif marker == _START_OF_SCAN:
            return None if height is None else _Header(height, at)
    return None


def _is_one_scan(data: bytes, begin: int) -> bool:
    """Returns whether no marker but those of restarts lies between the header and the end.

    A decoder that stops early wouldn't see that the file is cut off, or what else is wrong.
    """
    values = np.frombuffer(data, np.uint8)[begin:]
    after = values[1:]
    markers = np.flatnonzero((values[:-1] == 0xFF) & (after != 0) & (after & 0xF8 != 0xD0))
    return len(markers) > 0 and bool(after[markers[0]] == _END)
