"""Files of images: which they are by their suffixes, and their bytes as examples."""

from vgg_jax.data.source import Example
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)


def is_image(name: str) -> bool:
    """Tells whether a file is taken for an image, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def read(path: Path, label: int) -> Example:
    """Reads an image's file; the key of the example is the path.

    Raises:
      UndecodableError: The file is gone, or must not be read.
      UserError: It can't be read at present.
    """
    key = files.printable(path)
    try:
        return Example(files.read(path), label, key)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UndecodableError(key, error.strerror or "it isn't there") from error
    except OSError as error:  # A server doesn't answer, for instance: the image may be good.
        raise UserError(f"{key} can't be read at present: {error.strerror or error}.") from error
