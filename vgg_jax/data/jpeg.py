"""Decodes JPEG files as far down as a crop needs them, straight to NumPy (simplejpeg).

The pixels are the same to the bit as Pillow's, because libjpeg-turbo decodes for both.

A decoder stops at the height that the file's header names. It computes a row from the file's
coefficients for it and for the rows next to it. So the rows above a lower height are the same to
the bit.
"""

import re
import struct
from typing import NamedTuple

import numpy as np
import simplejpeg
from jaxtyping import UInt8

_START = b"\xff\xd8"
_START_OF_SCAN, _END = 0xDA, 0xD9
# Progressive frames may be smoothed over more rows, and all others are rare.
_SEQUENTIAL_FRAMES = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
# Within a scan, 0xFF is followed by 0, or by the number of a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
# What libjpeg says of a shortened file. It says the first warning alone.
_LEFT_OVER = re.compile("extraneous bytes before marker 0xd[0-79]")
_BELOW = 4  # The rows below a row that the upsampling of its chroma needs, rounded up.


class _Header(NamedTuple):
    """The width and height; the positions of the height, and of the first byte after the header."""

    size: tuple[int, int]
    height_at: int
    end: int


def is_jpeg(data: bytes) -> bool:
    """Returns whether data begin as a JPEG file."""
    return data.startswith(_START)


def rows(data: bytes, size: tuple[int, int], num_rows: int) -> UInt8[np.ndarray, "rows w 3"] | None:
    """Decodes the first rows of an RGB or grey JPEG file to RGB.

    Args:
      data: The bytes of the file.
      size: The image's width and height, by Pillow.
      num_rows: How many rows are needed; all of them if the image has fewer.

    Returns:
      The pixels; None if Pillow must decode the file, or find what is wrong with it.
    """
    width, height = size
    file = shortened(data, size, num_rows)
    # If the header says more to libjpeg-turbo than to Pillow, the buffer is too small, and the file
    # is refused before it takes more memory.
    buffer = np.empty((height, width, 3), np.uint8)
    try:
        # A decoder that isn't strict would also say nothing of headers that it can't use.
        pixels = simplejpeg.decode_jpeg(file or data, "RGB", buffer=buffer)
    except ValueError as error:
        below_is_left_over = file is not None and _LEFT_OVER.search(str(error))
        return buffer[:num_rows] if below_is_left_over else None
    is_whole = pixels.shape[:2] == (height, width)
    return pixels[:num_rows] if is_whole or file is not None else None


def shortened(data: bytes, size: tuple[int, int], num_rows: int) -> bytearray | None:
    """Returns a JPEG file of which a decoder decodes the first rows, and a few more.

    Args:
      data: The bytes of a JPEG file.
      size: The image's width and height, by Pillow.
      num_rows: How many rows must be the same as in the whole image.

    Returns:
      The file; None if the whole image must be decoded, because all rows are needed, or the file
      is progressive, of a rare kind or damaged.
    """
    header = _header(data)
    if header is None or header.size != size or num_rows + _BELOW >= header.size[1]:
        return None
    if not _is_one_scan(data, header.end):
        return None
    file = bytearray(data)
    file[header.height_at : header.height_at + 2] = (num_rows + _BELOW).to_bytes(2, "big")
    return file


def _header(data: bytes) -> _Header | None:
    """Returns the header of a sequential file; None for others."""
    height_at, at = None, len(_START)
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        begin, at = at, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SEQUENTIAL_FRAMES:
            height_at = begin + 5
        elif marker in _OTHER_FRAMES:
            return None
        elif marker == _START_OF_SCAN:
            if height_at is None:
                return None
            height, width = struct.unpack_from(">HH", data, height_at)
            return _Header((width, height), height_at, at)
    return None


def _is_one_scan(data: bytes, begin: int) -> bool:
    """Returns whether no marker but those of restarts lies between the header and the end.

    A decoder that stops early wouldn't see that the file is cut off, or what else is wrong.
    """
    marker = _MARKER.search(data, begin)
    return marker is not None and marker[0][1] == _END
