"""How every command runs: absl's flags, one line for what a user can mend, signals."""

import errno
import os
import signal
import sys
from collections.abc import Callable

from absl import app, flags, logging

from vgg_jax import stopping
from vgg_jax.errors import UserError


def run(
    main: Callable[[list[str]], None],
    parse_flags: Callable[[list[str]], list[str]] = app.parse_flags_with_usage,
) -> None:
    """Runs `main` with the flags; prints a UserError's message alone and exits with status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for number in stopping.EXIT_STATUS:
        signal.signal(number, stopping.stop_at_once)

    def quiet(argv: list[str]) -> None:
        # Orbax and TFDS log routine facts to stderr, over the progress bar.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.FATAL)
        main(argv)

    try:
        app.run(quiet, flags_parser=parse_flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(
            f"error: {error}. Make room; the same command then goes on from the last checkpoint.",
            file=sys.stderr,
        )
        sys.exit(2)
    except stopping.StoppedError as stopped:
        print(f"\n{stopped}", file=sys.stderr, flush=True)
        sys.exit(stopping.EXIT_STATUS[stopped.signal])
