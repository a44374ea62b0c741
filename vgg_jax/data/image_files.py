"""Image files: recognises them by their suffixes, and reads them as examples."""

import errno
import stat

from vgg_jax.data.source import Example
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)


# Folders of other programs: macOS's archives and Synology's previews.
_OF_PROGRAMS = ("__MACOSX", "@eaDir")


def is_hidden(name: str) -> bool:
    """Returns whether the name of a file or folder is one that programs hide."""
    return name.startswith(".") or name in _OF_PROGRAMS


def is_image(name: str) -> bool:
    """Returns whether the name of a file is that of an image, by its suffix, and isn't hidden."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def read(path: Path, label: int) -> Example:
    """Reads an image file. The example's key is its path.

    Raises:
      UndecodableError: The file is gone, is no regular file, or may not be read.
      UserError: The file can't be read for another reason, which may pass.
    """
    key = files.printable(path)
    try:
        refuse_special(path, key)
        return Example(files.read(path), label, key)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UndecodableError(key, error.strerror or "it isn't there") from error
    except OSError as error:
        if error.errno == errno.ELOOP:  # A link to itself.
            raise UndecodableError(key, error.strerror) from error
        # For example a server's failure: the image may be good.
        raise UserError(f"{key} can't be read at present: {error.strerror or error}.") from error


def refuse_special(path: Path, key: str) -> None:
    """Checks that a path on a disk is no named pipe, device or socket: reading it may never end.

    Raises:
      UndecodableError: It is one of these.
      OSError: It isn't there, or can't be looked up.
    """
    if files.in_bucket(path):
        return
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UndecodableError(key, "neither a file nor a folder")
