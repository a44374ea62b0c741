"""Geometry on the host: decode, rescale, crop, flip (§3.1, §3.2). Bytes in, uint8 RGB out.

"Rescaled to S" means that the shorter side becomes S px and the longer one round(long * S / short),
bilinear with antialiasing. A crop of the rescaled image is resampled from its box alone: the same
but for the rounding of ties between two grey levels, at a part of the cost.
"""

import io
import re
import threading
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from vgg_jax.errors import UndecodableError

Crop = UInt8[np.ndarray, "crop_px crop_px 3"]

# These are read whatever the file is called. Among the others that Pillow reads, EPS would start
# Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM", "TIFF", "JPEG2000", "AVIF")

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


def decode(data: bytes, key: str = "the data") -> Image.Image:
    """Decodes an image file to upright RGB, whatever its mode: grey, palette and CMYK among them.

    Alpha is dropped, as TensorFlow and torchvision do, not blended with some background. 16 bits
    become 8. An animation gives its first frame. EXIF's orientation is applied.

    Args:
      data: The bytes of the file.
      key: What the error calls it.

    Raises:
      UndecodableError: The bytes are no image, a damaged one, one of more than twice
        `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb), or of 32-bit values, which have no
        agreed white.
    """
    _ignore_pillows_warnings()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            # Pillow's own conversion clips 16-bit grey at 255, nearly all of it white.
            grey = (np.asarray(image).astype(np.uint32) + 128) // 257
            image = Image.fromarray(grey.astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise UndecodableError(key, f"its 32-bit values, mode {image.mode}, have no set white")
        image = image.convert("RGB")
        return image if upright is None else image.transpose(upright)
    except (UndecodableError, MemoryError):
        raise
    # Pillow's decoders raise SyntaxError and struct.error (through OSError or not) on bad files.
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)  # Its text names a memory address.
        reason = "of no known format" if unknown else f"{type(error).__name__}: {error}"
        raise UndecodableError(key, reason if data else "an empty file") from error


def _orientation(image: Image.Image) -> object:
    if "exif" not in image.info:  # Pillow has applied a TIFF's.
        return None
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Broken EXIF takes nothing from the pixels.
        return None


def _ignore_pillows_warnings() -> None:
    # Pillow warns of large images, of broken EXIF and of broken TIFF tags, and goes on or raises.
    # warnings.catch_warnings is not for threads; a filter that stays is.
    with _FILTER_LOCK:
        # Before all others, of which one may say "error".
        if not warnings.filters or warnings.filters[0] != _IGNORE_PILLOW:
            warnings.filterwarnings("ignore", module=_IGNORE_PILLOW[3].pattern)


def rescaled_size(size: tuple[int, int], scale: int) -> tuple[int, int]:
    """Returns (width, height) after the shorter side has become `scale` px."""
    short = min(size)
    width, height = (max(scale, round(side * scale / short)) for side in size)
    return width, height


def rescale(image: Image.Image, scale: int) -> UInt8[np.ndarray, "h w 3"]:
    """Rescales a whole image, any size, so that the shorter side becomes `scale` px."""
    size = rescaled_size(image.size, scale)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def crop_rescaled(image: Image.Image, scale: int, left: int, top: int, crop_px: int) -> Crop:
    """Cuts a square out of the image rescaled to `scale`.

    Args:
      image: RGB, any size.
      scale: Shorter side after rescaling, px; at least crop_px.
      left, top: The square's corner in the rescaled image, px.
      crop_px: The square's side.
    """
    width, height = rescaled_size(image.size, scale)
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, (left + crop_px) * x, (top + crop_px) * y)
    return np.asarray(image.resize((crop_px, crop_px), Image.Resampling.BILINEAR, box=box))


def random_crop(
    image: Image.Image, train_scale: tuple[int, int], crop_px: int, rng: np.random.Generator
) -> Crop:
    """Draws a training crop (§3.1): S uniform in train_scale, a random place, a random flip.

    Args:
      image: RGB, any size.
      train_scale: Smallest and largest S, px, both included; crop_px or more.
      crop_px: The crop's side.
      rng: Source of all the randomness.
    """
    scale = int(rng.integers(train_scale[0], train_scale[1], endpoint=True))
    width, height = rescaled_size(image.size, scale)
    left = int(rng.integers(0, width - crop_px, endpoint=True))
    top = int(rng.integers(0, height - crop_px, endpoint=True))
    crop = crop_rescaled(image, scale, left, top, crop_px)
    return crop[:, ::-1] if rng.integers(2) else crop


def centre_crop(image: Image.Image, scale: int, crop_px: int) -> Crop:
    """Cuts the central square out of the image rescaled to `scale`."""
    width, height = rescaled_size(image.size, scale)
    return crop_rescaled(image, scale, (width - crop_px) // 2, (height - crop_px) // 2, crop_px)
