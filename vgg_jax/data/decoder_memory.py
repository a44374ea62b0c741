"""The memory that decoding an image takes at most, from the header of its file.

The numbers are upper bounds of what was measured: the largest resident memory of fresh processes
that decoded files of 20 megapixels.
"""

import re
import struct

from PIL import Image

from vgg_jax.data import tiff_directory

_FIXED_BYTES = 2**20
_LINE_BYTES = 32  # Buffers of some lines, for each pixel of the longer side.
_RGB_BYTES = 4  # Pillow keeps four bytes per pixel in all modes of several channels.

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

# The tags of a TIFF that decide how large its strips or tiles are.
_WIDTH, _HEIGHT, _BITS, _SAMPLES = 256, 257, 258, 277
_STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323


def size_of_webp(data: bytes) -> tuple[int, int] | None:
    """Returns the width and height that a WebP file's header names; None for other files.

    Pillow allocates canvases of this size as soon as it opens the file.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
            return 1 + width, 1 + height
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def peak_of_webp(size: tuple[int, int], data: bytes) -> int:
    """Returns the bytes that decoding a WebP file of this size takes at most."""
    return _peak(size, _RGB_BYTES, _OF_DECODER["WEBP"], data)


def peak(image: Image.Image, data: bytes) -> int:
    """Returns the bytes that decoding takes at most, with the conversion to upright RGB.

    Args:
      image: The image, of which only the header has been read.
      data: The bytes of the file.
    """
    channels = len(image.getbands())
    stored = 1 if channels == 1 else _RGB_BYTES
    if image.mode.startswith("I") or image.mode == "F":
        stored = 2 if ";16" in image.mode else 4
    match image.format:
        case "JPEG" | "MPO":
            # A progressive file's coefficients have two bytes each. Blocks go beyond the edges.
            width, height = (-(-side // 32) * 32 for side in image.size)
            return _peak((width, height), stored, 2 * channels, data)
        case "TIFF":
            return _peak(image.size, stored, 0, data) + _of_tiff_segment(data)
        case "JPEG2000":
            return _peak(image.size, stored, 0, data) + _of_jpeg_2000_tile(data)
        case _:
            return _peak(image.size, stored, _OF_DECODER[image.format], data)


def of_rescaled(height: int, width: int) -> int:
    """Returns the bytes that rescaling a decoded image takes beyond what decoding it takes."""
    # Pillow rescales the width first. What it then has is no larger than the image, twice of which
    # is in `peak`, or no larger than the result, which is copied to three bytes per pixel.
    return (2 * _RGB_BYTES + 3) * height * width


def _peak(size: tuple[int, int], stored: int, decoder: int, data: bytes) -> int:
    # After decoding, the image is converted to RGB, from 16 bits by way of 32 bits, and turned.
    later = max(stored + _RGB_BYTES, 2 * _RGB_BYTES)
    if stored == 2:
        later = 11
    per_px = max(stored + decoder, later)
    return _FIXED_BYTES + len(data) + _LINE_BYTES * max(size) + per_px * size[0] * size[1]


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


def _of_tiff_segment(data: bytes) -> int:
    """Returns the bytes of libtiff's buffers for a strip or a tile."""
    tags = tiff_directory.read(data).integers
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    strip_px = width * min(tags.get(_STRIP_ROWS, height), height)
    tile_px = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
    sample_bytes = -(-tags.get(_BITS, 1) // 8) + 2  # 2 for the coefficients of a JPEG.
    return max(strip_px, tile_px) * max(1, tags.get(_SAMPLES, 1)) * sample_bytes
