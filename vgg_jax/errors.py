"""The one exception that a user can mend."""


class UserError(ValueError):
    """The config, the data or the workdir stands in the way; the message says what to do.

    Commands print the message alone, without a traceback, and exit with status 2.
    """
