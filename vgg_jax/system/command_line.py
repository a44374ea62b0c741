"""How every command runs: absl's flags, one line for what a user can mend, signals."""

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
    """Runs `main` with the flags; prints a UserError's message alone and exits with status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for number in signals.EXIT_STATUS:
        signal.signal(number, signals.stop_at_once)

    # Orbax and TFDS log routine facts to stderr, over the progress bar. --verbosity shows them.
    logging.set_verbosity(logging.FATAL)
    try:
        app.run(main, flags_parser=parse_flags)
    except (Exception, signals.StoppedError) as error:
        status = report(error)
        if status is None:
            raise
        if isinstance(error, UnwrittenError):
            # Threads of Orbax wait ten minutes for a folder that it couldn't make, and Python's
            # own end for them.
            sys.stdout.flush()
            os._exit(status)
        sys.exit(status)


def report(error: BaseException) -> int | None:
    """Prints what a user should read of an error.

    Returns:
      The exit status; None, and nothing is printed, where an error isn't for users.
    """
    # Only here: gcsfs and its like take longer to import than some commands to run.
    from vgg_jax.storage import gcs

    match error:
        case UserError():
            print(f"error: {error}", file=sys.stderr)
            return 2
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            print(
                f"error: {error}. Make room; the same command then goes on from the last "
                "checkpoint.",
                file=sys.stderr,
            )
            return 2
        case _ if gcs.explain(error):
            print(
                f"error: The bucket can't be reached ({gcs.explain(error)}). The same command "
                "then goes on from what was saved.",
                file=sys.stderr,
            )
            return 2
        case signals.StoppedError():
            print(f"\n{error}", file=sys.stderr, flush=True)
            return signals.EXIT_STATUS[error.signal]
    return None
