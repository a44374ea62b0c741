"""Image files: recognises them by their suffixes, and reads them as examples."""

from vgg_jax.data.source import Example
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)


def is_image(name: str) -> bool:
    """Returns whether a file's suffix is that of an image."""
    return name.lower().endswith(SUFFIXES)


def read(path: Path, label: int) -> Example:
    """Reads an image file. The example's key is its path.

    Raises:
      UndecodableError: The file is gone, is a folder, or may not be read.
      UserError: The file can't be read for another reason, which may pass.
    """
    key = files.printable(path)
    try:
        return Example(files.read(path), label, key)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UndecodableError(key, error.strerror or "it isn't there") from error
    except OSError as error:  # For example a server's failure: the image may be good.
        raise UserError(f"{key} can't be read at present: {error.strerror or error}.") from error
