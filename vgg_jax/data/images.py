"""Decodes, rescales, crops and flips images on the host, to uint8 RGB (§3.1, §3.2).

"Rescaled to S" means that the shorter side becomes S px and the longer one round(long * S / short),
by bilinear interpolation with antialiasing. Pillow rescales whole images. To crop a rescaled image,
only the crop's box is resampled, by `resample`. This costs less, and differs in roundings alone.
"""

import contextlib
import functools
import io
import math
import re
import threading
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from vgg_jax.data import decode_budget, decoder_memory, jpeg, quiet_pillow, resample
from vgg_jax.errors import UndecodableError, UserError

Crop = UInt8[np.ndarray, "crop_px crop_px 3"]
Size = tuple[int, int]  # Width and height, in px.

# Files of these formats are read whatever their suffix. Pillow reads more formats, but EPS, for
# example, would start Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM", "TIFF", "JPEG2000", "AVIF")

# The most pixels of a rescaled whole image. At Q = 512 such an image is 64 times as long as wide.
MAX_RESCALED_PX = 2**24

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_FILTER_LOCK = threading.Lock()
_PART = 2**18  # Pixels.

quiet_pillow.silence()


class Cut(NamedTuple):
    """A square of an image that is rescaled to S or Q.

    Attributes:
      box: The square's left, top, right and bottom in the image before it is rescaled, in px.
      crop_px: The square's side after rescaling, in px.
      flipped: Whether the crop is flipped from left to right.
    """

    box: tuple[float, float, float, float]
    crop_px: int
    flipped: bool = False

    def of(self, image: Image.Image | resample.Pixels) -> Crop:
        """Cuts the crop out of an RGB image, of which rows that it doesn't need may be missing."""
        crop = resample.square(image, self.box, self.crop_px)
        if self.flipped:  # Pillow takes a third of the time that NumPy takes.
            crop = np.asarray(Image.fromarray(crop).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        return crop


def decode_crop(data: bytes, key: str, choose: Callable[[Size], Cut]) -> Crop:
    """Decodes an image file as far down as a crop needs it, and cuts the crop out.

    Args:
      data: The bytes of the file.
      key: The image's name in the error.
      choose: Takes the size of the upright image and returns the crop's place. It is called once.

    Raises:
      UndecodableError: See `decode`.
    """
    choose = functools.cache(choose)
    crop = _crop_of_jpeg(data, key, choose)
    if crop is None:
        image = decode(data, key)
        crop = choose(image.size).of(image)
    return crop


def _crop_of_jpeg(data: bytes, key: str, choose: Callable[[Size], Cut]) -> Crop | None:
    """Returns None if `decode` must decode the file, or find what is wrong with it."""
    if not jpeg.is_jpeg(data):
        return None
    _ignore_pillows_warnings()
    with contextlib.ExitStack() as room:
        try:
            image = _opened(data, key, room)
        except Exception:
            return None
        is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
        if not is_plain or _orientation(image) in _UPRIGHT:
            return None
        cut = choose(image.size)
        rows = jpeg.rows(data, image.size, resample.num_rows(cut.box, cut.crop_px))
        return None if rows is None else cut.of(rows)


def decode(data: bytes, key: str = "the data") -> Image.Image:
    """Decodes an image file of any mode (grey, palette, CMYK, ...) to upright RGB.

    Alpha is dropped, as in TensorFlow and torchvision, and not blended with a background. Values of
    12 and 16 bits are reduced to 8 bits. An animation's first frame is used. The orientation
    that EXIF or XMP names is applied.

    It waits until there is room for what the file's header says: see `decode_budget`.

    Args:
      data: The bytes of the file.
      key: The image's name in the error.

    Raises:
      UndecodableError: The bytes are no image of a known format; or the image is damaged, has more
        than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels (a decompression bomb), needs more memory
        than the budget has for one image, or has 32-bit values, for which white isn't defined.
    """
    _ignore_pillows_warnings()
    try:
        with contextlib.ExitStack() as room:
            # No variable here holds the image, so that it is freed as soon as it is converted.
            return _upright_rgb(_opened(data, key, room), key)
    except (UndecodableError, MemoryError):
        raise
    # On bad files, Pillow's decoders raise OSError, but also SyntaxError and struct.error.
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)  # Its text has a memory address.
        reason = "of no known format" if unknown else f"{type(error).__name__}: {error}"
        raise UndecodableError(key, reason if data else "an empty file") from error


def _opened(data: bytes, key: str, room: contextlib.ExitStack) -> Image.Image:
    """Reads the header, and waits for room to decode the image."""
    needed = decoder_memory.before_opening(data)
    if needed:
        room.enter_context(_room(needed, key))
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if math.prod(image.size) > math.prod(needed.size):
            raise UndecodableError(key, "its header names several sizes")
        return image
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    room.enter_context(_room(decoder_memory.of_opened(image, data), key))
    return image


def _room(needed: decoder_memory.Needed, key: str) -> contextlib.AbstractContextManager[None]:
    most = decode_budget.most_bytes("pixels")
    if needed.peak_bytes > most:
        width, height = needed.size
        raise UndecodableError(
            key,
            f"{width:,} x {height:,} px of {needed.format} may need {needed.peak_bytes / 1e6:,.0f} "
            f"MB to decode, and {most / 1e6:,.0f} MB are allowed; raise {decode_budget.KEY} to "
            "allow it",
        )
    return decode_budget.room("pixels", needed.peak_bytes)


def _upright_rgb(image: Image.Image, key: str) -> Image.Image:
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _eight_bits(image)
    elif image.mode in ("I", "F"):
        raise UndecodableError(key, f"its 32-bit values, mode {image.mode}, have no set white")
    image = image.convert("RGB")
    return image if upright is None else image.transpose(upright)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit grey at 255, which makes almost all of it white.
    white, inverted = 2**16 - 1, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow gives its values as they are.
        white = 2 ** image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0] - 1
        # Without this tag, Pillow inverts 8 bits, too.
        inverted = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
    values = np.asarray(image).reshape(-1)
    grey = np.empty(values.shape, np.uint8)
    for begin in range(0, len(values), _PART):  # 32 bits for all would take much memory.
        part = slice(begin, begin + _PART)
        grey[part] = (255 * values[part].astype(np.uint32) + white // 2) // white
    if inverted:
        grey = 255 - grey
    return Image.fromarray(grey.reshape(image.height, image.width))


def _orientation(image: Image.Image) -> object:
    if image.format == "TIFF":  # Pillow has already applied it.
        return None
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # The EXIF data is broken, but the pixels are good.
        return None


def _ignore_pillows_warnings() -> None:
    # Pillow warns about large images, broken EXIF and broken TIFF tags, and then goes on or raises.
    # A filter that stays is safe in threads; warnings.catch_warnings is not.
    with _FILTER_LOCK:
        # The filter must come first: another one may turn warnings into errors.
        if not warnings.filters or warnings.filters[0] != _IGNORE_PILLOW:
            warnings.filterwarnings("ignore", module=_IGNORE_PILLOW[3].pattern)


def rescaled_size(size: Size, scale: int) -> Size:
    """Returns the (width, height) that an image has once its shorter side is `scale` px."""
    short = min(size)
    width, height = (max(scale, round(side * scale / short)) for side in size)
    return width, height


def refuse_large_rescaled(size: Size, scale: int, name: str) -> None:
    """Checks that an image of this width and height may be rescaled as a whole.

    Raises:
      UserError: It would have more than `MAX_RESCALED_PX` pixels.
    """
    width, height = rescaled_size(size, scale)
    if width * height > MAX_RESCALED_PX:
        raise UserError(
            f"{name}, of {size[0]:,} x {size[1]:,} px, would become {width:,} x {height:,} px at a "
            f"scale of {scale} px, which is too large. Lower the scale, or crop the image."
        )


def rescale(image: Image.Image, scale: int) -> UInt8[np.ndarray, "h w 3"]:
    """Rescales a whole image so that its shorter side becomes `scale` px.

    Raises:
      UserError: See `refuse_large_rescaled`.
    """
    refuse_large_rescaled(image.size, scale, "The image")
    size = rescaled_size(image.size, scale)
    # Pillow would copy an image that has this size already.
    rescaled = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(rescaled)


def cut_at(size: Size, scale: int, left: int, top: int, crop_px: int) -> Cut:
    """Returns a square of an image rescaled to `scale`.

    Args:
      size: The image's width and height, in px.
      scale: The shorter side after rescaling, in px; at least crop_px.
      left, top: The square's top left corner in the rescaled image, in px.
      crop_px: The square's side, in px.
    """
    width, height = rescaled_size(size, scale)
    x, y = size[0] / width, size[1] / height
    return Cut((left * x, top * y, (left + crop_px) * x, (top + crop_px) * y), crop_px)


def random_cut(
    size: Size, train_scale: tuple[int, int], crop_px: int, rng: np.random.Generator
) -> Cut:
    """Draws a training crop (§3.1): a uniform S in train_scale, a random place and a random flip.

    Args:
      size: The image's width and height, in px.
      train_scale: The smallest and the largest S, in px, both included; at least crop_px.
      crop_px: The crop's side, in px.
      rng: The generator of all random choices.
    """
    scale = int(rng.integers(train_scale[0], train_scale[1], endpoint=True))
    width, height = rescaled_size(size, scale)
    left = int(rng.integers(0, width - crop_px, endpoint=True))
    top = int(rng.integers(0, height - crop_px, endpoint=True))
    return cut_at(size, scale, left, top, crop_px)._replace(flipped=bool(rng.integers(2)))


def centre_cut(size: Size, scale: int, crop_px: int) -> Cut:
    """Returns the central square of an image rescaled to `scale`: see `cut_at`."""
    width, height = rescaled_size(size, scale)
    return cut_at(size, scale, (width - crop_px) // 2, (height - crop_px) // 2, crop_px)


def centre_crop(image: Image.Image, scale: int, crop_px: int) -> Crop:
    """Cuts the central square out of the image rescaled to `scale`."""
    return centre_cut(image.size, scale, crop_px).of(image)
