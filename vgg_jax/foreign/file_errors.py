"""Errors of weight files, which name the file."""

import contextlib
import pathlib
from collections.abc import Iterator

from vgg_jax.errors import UserError


def damaged(path: pathlib.Path, what: str) -> UserError:
    """Returns the error that names the file and says what is wrong with it and what to do.

    Args:
      path: The file.
      what: What is wrong, as a clause without a full stop.
    """
    return UserError(f"{path} is cut short or damaged: {what}. Download or copy it again.")


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Makes the errors of a block that reads a file name the file.

    Raises:
      UserError: The file can't be read, or the block raised a UserError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from error
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path}: {error}") from error
