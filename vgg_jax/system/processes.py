"""The processes of one job, which join, share what the first one finds, and end together.

A single process calls these functions too. JAX is imported only where there are others to join.
"""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from vgg_jax.errors import UserError
from vgg_jax.storage import files, partial_files, writer
from vgg_jax.storage.files import Path
from vgg_jax.system import launched_by, signals
from vgg_jax.system.signals import StoppedError, StopRequest

if TYPE_CHECKING:
    from vgg_jax.system.peers import Job

T = TypeVar("T")

FILE_S = 60  # The time for a new file to be seen: NFS caches a folder for that long.

_job: "Job | None" = None


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the processes of this job, if it has several; at the end, all leave together.

    An error in one process ends all of them. That process prints the error, and the others print
    that it has ended.

    Raises:
      UserError: The environment is impossible (see `launched_by.arguments`), or the others can't be
        joined.
    """
    global _job
    arguments = launched_by.arguments(os.environ)
    if arguments is None:
        yield
        return

    from vgg_jax.system.peers import Job

    _job = Job(arguments)
    if _job.count == 1:
        signals.handle()  # JAX has replaced the handler of SIGTERM.
    else:  # JAX tells the others of SIGTERM only.
        for number in {*signals.handled()} - {signal.SIGTERM, signal.SIGINT}:
            signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    except StoppedError:  # All processes stop at the same point.
        _job.leave()
        raise
    except BaseException as error:
        _job.end(error)
    _job.leave()


@contextlib.contextmanager
def errors_told_to_others() -> Iterator[None]:
    """Lets an error before `joined` end the other processes of this job, which would wait for it.

    For example, one host may not have mounted the disk with the workdir.
    """
    try:
        yield
    except UserError as error:
        arguments = launched_by.arguments(os.environ)
        if not arguments:  # On a TPU's host, where they are empty, joining would occupy the TPU.
            raise

        from vgg_jax.system import command_line, peers

        status = command_line.report(error)
        peers.Job(arguments).end_reported(error, status)


def from_first(function: Callable[[], Any], read: Callable[[Any], T] = lambda value: value) -> T:
    """Calls a function on the first process alone, and returns its result on all processes.

    The others wait as long as it takes.

    Args:
      function: Its result must be JSON's: None, a bool, an int, a float or a str, or lists and
        dicts of these; see `messages`.
      read: Converts that result on each process, with any error if it has another form: the message
        may be from a stranger. Give it where the result is used.

    Raises:
      UserError: What arrived has another form.
    """
    return read(function()) if _job is None else _job.from_first(function, read)


def first_then_others(function: Callable[[], T]) -> T:
    """Calls a function on the first process, then on the others, which find what that one made."""
    made: list[T] = []
    from_first(lambda: made.append(function()))
    return made[0] if made else function()


def is_first() -> bool:
    """Returns whether this is the first process of a job, or the only one."""
    return _job is None or _job.index == 0


def refuse_different(what: str, value: object) -> None:
    """Checks that a value is the same on all processes.

    Raises:
      UserError: The value here differs from that on the first process.
    """
    if from_first(lambda: value) != value:
        raise UserError(
            f"The {what} of process {_job.index} on {socket.gethostname()} differ from those "
            "of the first process. Give all processes the same command and the same files."
        )


def make_shared(folder: Path) -> None:
    """Makes a folder, and checks that it is the same one for all processes.

    Raises:
      UserError: The folder here is not the one that the first process writes to.
    """
    with contextlib.ExitStack() as until_seen:

        def make() -> str:
            folder.mkdir(parents=True, exist_ok=True)
            if _job is None or files.in_bucket(folder):
                return ""
            return until_seen.enter_context(partial_files.beside(folder / "probe")).name

        probe = from_first(make, _probe_name)
        if probe:
            wait_until_seen(folder, (folder / probe).exists)
            _job.wait_for_all()


def _probe_name(value: str) -> str:
    # A stranger's could be the path of any file.
    return re.fullmatch(r"(\.probe\.[0-9a-f]+\.partial)?", value)[0]


@contextlib.contextmanager
def one_writer(folder: Path, name: str, doing: str, otherwise: str) -> Iterator[None]:
    """Makes this job the only one that writes something to a folder: see `writer.one_writer`.

    Raises:
      UserError: Another job is the writer.
    """
    more = {} if _job is None else {"end": _job.end}
    with contextlib.ExitStack() as held:

        def take() -> None:
            held.enter_context(writer.one_writer(folder, name, doing, otherwise, **more))

        from_first(take)
        yield


def wait_until_seen(folder: Path, seen: Callable[[], bool]) -> None:
    """Returns once a folder shows what the first process wrote there, which may take a minute.

    Raises:
      UserError: The folder still doesn't show it.
    """
    deadline_s = time.monotonic() + FILE_S
    while not seen():
        if time.monotonic() > deadline_s:
            raise UserError(
                f"{folder} on {socket.gethostname()} is not the folder that the first process "
                "writes to. Choose a --workdir on a file system that all hosts share."
            )
        time.sleep(0.2)


def stop_request() -> StopRequest:
    """Makes a `StopRequest` that becomes true on all processes at the same check.

    Each process must check it equally often.
    """
    return StopRequest(_job.all_stop if _job is not None and _job.count > 1 else None)
