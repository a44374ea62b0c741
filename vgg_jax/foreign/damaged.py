"""The error for a weight file that is cut short or damaged."""

import pathlib

from vgg_jax.errors import UserError


def damaged(path: pathlib.Path, what: str) -> UserError:
    """Returns the error that names the file and says what is wrong with it and what to do.

    Args:
      path: The file.
      what: What is wrong, as a clause without a full stop.
    """
    return UserError(f"{path} is cut short or damaged: {what}. Download or copy it again.")
