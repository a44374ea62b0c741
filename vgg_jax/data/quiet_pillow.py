"""Keeps Pillow and libtiff, with which it decodes TIFF, from printing over the progress bar."""

import contextlib
import ctypes
import logging

from PIL import _imaging


def silence() -> None:
    """Stops their messages about damaged images. Pillow's errors name what can't be decoded."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # Otherwise Python prints to stderr.
    # Functions are also found in the libraries that this one is linked with.
    library = ctypes.CDLL(_imaging.__file__)
    with contextlib.suppress(AttributeError):  # Pillow was built without libtiff.
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
