"""What a user can mend."""

from collections.abc import Sequence

NUM_NAMED = 5  # The names that a message lists before it counts the rest.


class UserError(ValueError):
    """The config, the data or the workdir stands in the way; the message says what to do.

    Commands print the message alone, without a traceback, and exit with status 2.
    """


class UnwrittenError(UserError):
    """A checkpoint can't be written."""


class UndecodableError(UserError):
    """An image can't be read or decoded.

    Attributes:
      key: What names the image: see `source.Example`.
      reason: What is wrong with it, in a few words.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)  # What pickling passes to the copy in another process.
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"{self.key} is not a readable image ({self.reason}). Replace or remove it."


def require(condition: bool, message: str) -> None:
    """Checks a condition.

    Raises:
      UserError: It doesn't hold.
    """
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a config's value is one of its choices.

    Raises:
      UserError: It isn't.
    """
    require(value in choices, f"{key}={value!r} must be one of {', '.join(choices)}.")


def some_of(names: Sequence[str]) -> str:
    """Lists names for a message: "a, b, c, d, e and 3 more"."""
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")
