"""How every command runs: its flags by absl, its signals, and its errors in one line."""

import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TextIO

from absl import app, logging

from vgg_jax import safe_text
from vgg_jax.errors import UnwrittenError, UserError
from vgg_jax.storage import owned
from vgg_jax.system import flag_parsing, full_memory, shared_memory, signals

# The status of a command whose output nobody reads any more, as in `predict FOLDER | head -1`.
_UNREAD = 128 + signal.SIGPIPE

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(
    main: Callable[[list[str]], None],
    parse_flags: Callable[[list[str]], list[str]] = flag_parsing.parse,
    *,
    goes_on: bool = False,
) -> None:
    """Runs `main`. After a UserError, prints its message alone and exits with status 2.

    Args:
      main: Takes the program's name and the arguments that are no flags.
      parse_flags: Parses the flags of all arguments, and returns what `main` takes.
      goes_on: Whether the same command goes on from what was saved, after a signal stopped it.
    """
    signals.goes_on = goes_on
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _prepare_for_libraries()
    signals.handle()
    signals.answer_at_once()
    owned.remove_of_the_dead()

    # Orbax and TFDS log routine messages to stderr, over the progress bar. --verbosity shows them.
    logging.set_verbosity(logging.FATAL)
    try:
        _run(main, parse_flags)
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


def _prepare_for_libraries() -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if not os.path.isabs(os.environ.get(name, "")):  # Then it doesn't count, by XDG's rules.
            os.environ.pop(name, None)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # The caller has closed it.
            flag = os.O_RDONLY if mode == "r" else os.O_WRONLY
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode))
    os.environ["MPLBACKEND"] = "agg"  # No command shows a window, also if its notebook does.


def _run(main: Callable[[list[str]], None], parse_flags: Callable[[list[str]], list[str]]) -> None:
    try:
        if flag_parsing.wants_help(sys.argv):
            print(flag_parsing.help_text(), flush=True)
            return
        app.run(main, flags_parser=parse_flags)
    except SystemExit:
        sys.stdout.flush()  # If nobody reads it any more, the error comes here, not at the exit.
        raise


def report(error: BaseException) -> int | None:
    """Prints an error's message, if it is meant for users.

    Returns:
      The exit status; None if the error isn't meant for users, and nothing was printed.
    """
    if isinstance(error, BrokenPipeError) and _close_unread():
        return _UNREAD
    if _may_be_of_output(error) and _close_full():
        print(
            "error: The output can't be written: its disk is full. Free some space, or send the "
            "output elsewhere.",
            file=sys.stderr,
        )
        return 2
    if isinstance(error, signals.StoppedError):
        print(f"\n{error}", file=sys.stderr, flush=True)
        return signals.EXIT_STATUS[error.signal]
    message = _message(error)
    if message is None:
        return None
    print(safe_text.lines(f"error: {message}"), file=sys.stderr)
    return 2


def _message(error: BaseException) -> str | None:
    # Imported only here: fsspec and epath take longer to import than some commands to run.
    from vgg_jax.storage import gcs

    match error:
        case UserError():
            return str(error)
        case OSError(errno=errno.ENOSPC, filename=None):  # For example of a new semaphore.
            return f"No space is left on a disk or in shared memory: {shared_memory.about()}"
        case OSError(errno=number) if number in _FULL:
            return (
                f"{error.filename} can't be written ({error.strerror}). Free some space; the same "
                "command then goes on."
            )
        case OSError(errno=errno.EROFS | errno.EACCES | errno.EPERM, filename=str()):
            return (
                f"{error.filename}: {error.strerror}. Choose another folder, or change its "
                "permissions."
            )
        case OSError(filename=str() as name, strerror=str() as reason):
            return f"{name}: {reason}. Check the path, and the disk on which it lies."
        case _ if full_memory.explain(error):
            return full_memory.explain(error)
        case _ if gcs.explain(error):
            return (
                f"The bucket can't be reached ({gcs.explain(error)}). Once it can be, the same "
                "command goes on from what was saved."
            )
    return None


def _close_unread() -> bool:
    """Closes the output if it is a pipe that nobody reads any more; returns whether it is."""
    outputs = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    for stream in outputs:  # Python flushes them once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(outputs)


def _may_be_of_output(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL and error.filename is None


def _close_full() -> bool:
    """Closes the standard output if its disk is full; returns whether it is."""
    try:  # Nothing may be left to flush: Python drops a long text that it couldn't write.
        print(flush=True)
    except OSError as error:
        if error.errno not in _FULL:
            return False
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _is_unread(stream: TextIO) -> bool:
    try:
        pipe = select.poll()
        pipe.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in pipe.poll(0))
    except (OSError, ValueError):  # It has no descriptor, as in a notebook, or is closed.
        return False
