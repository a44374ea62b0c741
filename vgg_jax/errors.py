"""Errors that a user can fix, and checks that raise them."""

import difflib
from collections.abc import Iterable, Sequence

NUM_NAMED = 5  # How many names a message lists before it counts the rest.


class UserError(ValueError):
    """An error that the user can fix, in the config, the data or the workdir.

    The message says what to do. Commands print it without a traceback, and exit with status 2.
    """


class UnwrittenError(UserError):
    """Raised when a checkpoint can't be written."""


class UndecodableError(UserError):
    """Raised when an image can't be read or decoded.

    Attributes:
      key: The name of the image for messages: see `source.Example`.
      reason: What is wrong with it, in a few words.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)  # Unpickling calls the class with these.
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"{self.key} is not a readable image ({self.reason}). Replace or remove it."


def require(condition: bool, message: str) -> None:
    """Checks that a condition is true.

    Raises:
      UserError: The condition is false.
    """
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a config's value is one of its choices.

    Raises:
      UserError: The value is not one of them.
    """
    require(
        value in choices,
        f"{key}={value!r} must be one of {', '.join(choices)}.{did_you_mean(str(value), choices)}",
    )


def some_of(names: Sequence[str]) -> str:
    """Lists names for a message: "a, b, c, d, e and 3 more"."""
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns a question that names what is spelt like a name, or "" if nothing is."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    # In a short name, swapped letters leave too little alike.
    close = close or [other for other in known if sorted(other) == sorted(name)]
    # A key is often given without its section: dir for data.dir.
    close += [other for other in known if other.endswith(f".{name}") and other not in close]
    return f" Did you mean {' or '.join(prefix + other for other in close[:3])}?" if close else ""
