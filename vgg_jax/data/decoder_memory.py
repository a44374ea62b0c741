"""The memory that decoding an image takes at most, from the header of its file.

The numbers are upper bounds of what was measured: the largest resident memory of fresh processes
that decoded files of 20 megapixels.
"""

import re
import struct
from typing import NamedTuple

from PIL import Image

from vgg_jax.data import av1_frames

_FIXED_BYTES = 2**21
_LINE_BYTES = 32  # Buffers of some lines, for each pixel of the longer side.
_RGB_BYTES = 4  # Pillow keeps four bytes per pixel in all modes of several channels.
_FROM_16_BITS = 11  # Bytes per pixel at most while 16 bits become 8 and then RGB.

# What decoders need beside the image, in bytes per pixel.
_OF_DECODER = {
    "PNG": 0,
    "GIF": 1,
    "BMP": 3,  # Run-length coded files are decoded in Python.
    "PPM": 8,  # So are numbers as text.
    "WEBP": 17,  # Two canvases for animations, and a frame.
    "AVIF": 26,  # Two planes of up to 12 bits per channel and alpha, if it consists of tiles.
}

# The beginning of a JPEG 2000 codestream: the sizes of image and tiles, and the number of channels.
_SIZ = re.compile(rb"\xff\x4f\xff\x51.{4}(.{34})", re.DOTALL)
_TILE_BYTES, _TILE_CHANNEL_BYTES = 6_000, 1_200  # OpenJPEG's own structs.

# Tags of a TIFF, the types of integers and their letters in `struct`.
_WIDTH, _HEIGHT, _BITS, _STRIPS, _SAMPLES = 256, 257, 258, 273, 277
_STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 278, 322, 323, 324
_INTEGERS = dict(zip((1, 3, 4, 6, 8, 9, 13, 16, 17, 18), "BHIbhiIQqQ", strict=True))
_MOST_VALUES = 8  # If a tag has more values, only so many are read here.
_STRIP_BYTES = 500  # Pillow makes Python objects for each strip or tile.


class Needed(NamedTuple):
    """What decoding an image takes.

    Attributes:
      format: The file's format, in Pillow's word.
      size: The image's width and height.
      peak_bytes: The most memory, with the conversion to upright RGB.
    """

    format: str
    size: tuple[int, int]
    peak_bytes: int


def before_opening(data: bytes) -> Needed | None:
    """Returns what decoding takes if Pillow takes much of it as soon as it opens the file.

    It does so for WebP, where it allocates canvases, and for TIFF, where it lists all strips. For
    other formats None is returned.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        size = _size_of_webp(data)
        return Needed("WEBP", size, _peak(size, _RGB_BYTES, _OF_DECODER["WEBP"], data))
    if data[:2] in (b"II", b"MM"):
        return _of_tiff(data)
    return None


def of_opened(image: Image.Image, data: bytes) -> Needed:
    """Returns what decoding takes, from an image of which only the header has been read."""
    channels = len(image.getbands())
    stored = 1 if channels == 1 else _RGB_BYTES
    if image.mode.startswith("I") or image.mode == "F":
        stored = 2 if ";16" in image.mode else 4
    match image.format:
        case "JPEG" | "MPO":
            # A progressive file's coefficients have two bytes each. Blocks go beyond the edges.
            blocks = tuple(-(-side // 32) * 32 for side in image.size)
            peak_bytes = _peak(blocks, stored, 2 * channels, data)
        case "JPEG2000":
            peak_bytes = _peak(image.size, stored, 0, data) + _of_jpeg_2000_tile(data)
        case "AVIF":
            frame = av1_frames.largest(data)
            size = tuple(max(sides) for sides in zip(image.size, frame, strict=True))
            return Needed("AVIF", size, _peak(size, stored, _OF_DECODER["AVIF"], data))
        case _:
            peak_bytes = _peak(image.size, stored, _OF_DECODER[image.format], data)
    return Needed(image.format, image.size, peak_bytes)


def of_rescaled(height: int, width: int) -> int:
    """Returns the bytes that rescaling a decoded image takes beyond what decoding it takes."""
    # Pillow rescales the width first. What it then has is no larger than the image, twice of which
    # is in the peak, or no larger than the result, which is copied to three bytes per pixel.
    return (2 * _RGB_BYTES + 3) * height * width


def _peak(size: tuple[int, int], stored: int, decoder: int, data: bytes) -> int:
    # After decoding, the image is converted to RGB and turned.
    later = max(stored + _RGB_BYTES, 2 * _RGB_BYTES, _FROM_16_BITS if stored == 2 else 0)
    per_px = max(stored + decoder, later)
    return _FIXED_BYTES + len(data) + _LINE_BYTES * max(size) + per_px * size[0] * size[1]


def _size_of_webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
            return 1 + width, 1 + height
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _of_jpeg_2000_tile(data: bytes) -> int:
    """Returns the bytes of OpenJPEG's largest tile, and of its list of tiles."""
    most = 0
    for found in _SIZ.finditer(data):
        width, height, left, top, tile_width, tile_height, _, _, channels = struct.unpack(
            ">8IH", found[1]
        )
        width, height = max(0, width - left), max(0, height - top)
        tile_px = min(tile_width, width) * min(tile_height, height)
        num_tiles = -(-width // max(1, tile_width)) * -(-height // max(1, tile_height))
        tiles = min(num_tiles, 2**16) * (_TILE_BYTES + channels * _TILE_CHANNEL_BYTES)
        most = max(most, 6 * channels * tile_px + tiles)  # 32 bits, and up to 16 packed bits.
    return most


def _of_tiff(data: bytes) -> Needed:
    tags, num_strips = _tiff_tags(data)
    size = width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    bits, samples = tags.get(_BITS, 1), max(1, tags.get(_SAMPLES, 1))
    stored = -(-min(bits, 32) // 8) if samples == 1 else _RGB_BYTES
    strip_px = width * min(tags.get(_STRIP_ROWS, height), height)
    tile_px = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
    # libtiff decodes a strip or a tile at once; if that is a JPEG, with its coefficients.
    part = max(strip_px, tile_px) * samples * (-(-bits // 8) + 2)
    peak_bytes = _peak(size, stored, 0, data) + part + _STRIP_BYTES * num_strips
    return Needed("TIFF", size, peak_bytes)


def _tiff_tags(data: bytes) -> tuple[dict[int, int], int]:
    """Reads a TIFF's first directory as far as it is there.

    Returns:
      The largest of each tag's first integers, because libraries don't agree on which one counts if
      a tag has too many or occurs several times; and the number of strips or tiles.
    """
    tags: dict[int, int] = {}
    num_strips = 0
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        word, word_bytes = ("Q", 8) if big else ("I", 4)
        (at,) = struct.unpack_from(f"{order}{word}", data, word_bytes)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
        at += 8 if big else 2
        entry = struct.Struct(f"{order}HH{word}{word}")
        for place in range(at, at + count * entry.size, entry.size):
            tag, kind, length, where = entry.unpack_from(data, place)
            if tag in (_STRIPS, _TILES):
                num_strips = max(num_strips, min(length, len(data)))
            elif kind in _INTEGERS and length:
                values = struct.Struct(f"{order}{min(length, _MOST_VALUES)}{_INTEGERS[kind]}")
                if length * struct.calcsize(f"={_INTEGERS[kind]}") <= word_bytes:
                    where = place + entry.size - word_bytes
                tags[tag] = max(tags.get(tag, 0), *values.unpack_from(data, where))
    except struct.error:  # The data ends here.
        pass
    return tags, num_strips
