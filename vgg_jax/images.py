"""Geometry on the host: decode, rescale, crop, flip (§3.1, §3.2). Bytes in, uint8 RGB out.

"Rescaled to S" means that the shorter side becomes S px and the longer one round(long * S / short),
bilinear with antialiasing. A crop of the rescaled image is resampled from its box alone: the same
but for the rounding of ties between two grey levels, at a part of the cost.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from vgg_jax.errors import UserError

Crop = UInt8[np.ndarray, "crop_px crop_px 3"]


def decode(data: bytes, key: str = "the data") -> Image.Image:
    """Decodes an image file to RGB, whatever its mode: grey, palette and CMYK among them.

    Args:
      data: The bytes of the file.
      key: What the error calls it.

    Raises:
      UserError: The bytes are no image, or a damaged one.
    """
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode.startswith("I;16"):
            # Pillow's own conversion clips 16-bit grey at 255, nearly all of it white.
            image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # Straight to RGB, Pillow warns.
        return image.convert("RGB")
    # Pillow's decoders raise SyntaxError and struct.error (through OSError or not) on bad files.
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)  # Its text names a memory address.
        reason = "of no known format" if unknown else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{key} is not a readable image ({reason}). Replace or remove it."
        ) from error


def rescaled_size(size: tuple[int, int], scale: int) -> tuple[int, int]:
    """Returns (width, height) after the shorter side has become `scale` px."""
    short = min(size)
    width, height = (max(scale, round(side * scale / short)) for side in size)
    return width, height


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
