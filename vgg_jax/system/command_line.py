"""How every command runs: its flags by absl, its signals, and its errors in one line."""

import errno
import os
import signal
import sys
from collections.abc import Callable

from absl import app, logging

from vgg_jax.errors import UnwrittenError, UserError
from vgg_jax.system import signals


def run(
    main: Callable[[list[str]], None],
    parse_flags: Callable[[list[str]], list[str]] = app.parse_flags_with_usage,
) -> None:
    """Runs `main`. After a UserError, prints its message alone and exits with status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for number in signals.EXIT_STATUS:
        signal.signal(number, signals.stop_at_once)

    # Orbax and TFDS log routine messages to stderr, over the progress bar. --verbosity shows them.
    logging.set_verbosity(logging.FATAL)
    try:
        app.run(main, flags_parser=parse_flags)
    except (Exception, signals.StoppedError) as error:
        status = report(error)
        if status is None:
            raise
        if isinstance(error, UnwrittenError):
            # Orbax's threads wait ten minutes for a folder that it couldn't make, and Python's
            # normal exit would wait for them.
            sys.stdout.flush()
            os._exit(status)
        sys.exit(status)


def report(error: BaseException) -> int | None:
    """Prints an error's message, if it is meant for users.

    Returns:
      The exit status; None if the error isn't meant for users, and nothing was printed.
    """
    # Imported only here: fsspec and epath take longer to import than some commands to run.
    from vgg_jax.storage import gcs

    match error:
        case UserError():
            print(f"error: {error}", file=sys.stderr)
            return 2
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            print(
                f"error: {error}. Free some space; the same command then goes on from the "
                "last checkpoint.",
                file=sys.stderr,
            )
            return 2
        case _ if gcs.explain(error):
            print(
                f"error: The bucket can't be reached ({gcs.explain(error)}). Once it can be, "
                "the same command goes on from what was saved.",
                file=sys.stderr,
            )
            return 2
        case signals.StoppedError():
            print(f"\n{error}", file=sys.stderr, flush=True)
            return signals.EXIT_STATUS[error.signal]
    return None
