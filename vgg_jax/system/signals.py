"""What SIGTERM and Ctrl-C do: a run in progress saves, then ends.

SIGHUP, which a terminal sends when it closes, and SIGUSR1, with which Slurm can warn a job, do the
same as SIGTERM. Python imports this module before any other of a command, so it imports little.
"""

import math
import os
import signal
import threading
import time
import types
from collections.abc import Callable

EXIT_STATUS = {signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGUSR1: 0, signal.SIGINT: 130}


class StoppedError(BaseException):
    """Raised when a signal ends the run.

    It is not an Exception, so that `except Exception` doesn't catch it.

    Attributes:
      signal: The signal.
    """

    def __init__(self, number: int, what: str) -> None:
        super().__init__(what)
        self.signal = signal.Signals(number)


def handled() -> list[signal.Signals]:
    """Returns the signals that stop a run: all of `EXIT_STATUS`, but no SIGHUP under `nohup`."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in EXIT_STATUS if not (ignored and number == signal.SIGHUP)]


def handle() -> None:
    """Ends this process at these signals, until a `StopRequest` handles them."""
    for number in handled():
        signal.signal(number, stop_at_once)
    release()


def hold() -> None:
    """Keeps signals waiting, through an execve too, until `release`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EXIT_STATUS)


def release() -> None:
    """Takes signals again, and those that wait."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EXIT_STATUS)


def answer_at_once() -> None:
    """Answers signals from a thread where the main thread is busy in C++, as when it compiles.

    Python calls handlers in the main thread alone, between two of its own instructions. A step of a
    full net on a CPU, or its compilation, took a minute, in which Ctrl-C seemed to do nothing.
    """
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)

    def answer() -> None:
        while True:
            for number in os.read(reads, 1):
                time.sleep(_PATIENCE_S)
                if time.monotonic() - _handled_s.get(number, -math.inf) > 2 * _PATIENCE_S:
                    _answer(number)

    threading.Thread(target=answer, daemon=True).start()


def _answer(number: int) -> None:
    handler = signal.getsignal(number)
    if handler is stop_at_once:
        stop_at_once(number, None)
    request = getattr(handler, "__self__", None)
    if isinstance(request, StopRequest):
        request.answer(number)
        request.answered_early.add(number)


# Whether the same command later goes on from what was saved: see `command_line.run`.
goes_on = False

_PATIENCE_S = 0.3  # So long the main thread has to call a handler itself.
_handled_s: dict[int, float] = {}  # When it last did, by signal.
_ending = threading.Lock()


def stop_at_once(number: int, frame: types.FrameType | None) -> None:
    """Ends the process after a signal, where there is nothing to save.

    It raises no exception, because a callback of the garbage collector may swallow one. It skips
    Python's normal exit, which was seen to crash on threads that were about to start workers.
    """
    if not _ending.acquire(blocking=False):
        return  # The main thread and that of `answer_at_once` may both come here.
    # print would raise an error if the signal interrupted another print.
    kept = b" What was saved is kept, and the same command goes on from there." if goes_on else b""
    os.write(2, b"\nStopped." + kept + b"\n")
    os._exit(EXIT_STATUS[number])


class StopRequest:
    """Notes a first signal in its context, so that the loop can stop between two steps.

    It is true once there was a signal. A second Ctrl-C ends the run at once.

    Attributes:
      answered_early: Signals that a thread has answered, before their handler was called.
    """

    def __init__(self, all_stop: Callable[[], bool] | None = None) -> None:
        """Makes a request.

        Args:
          all_stop: Returns whether all of several processes stop now. It is called at each check
            until it returns True. JAX then notes SIGTERM, as which `processes.joined` passes on
            SIGHUP and SIGUSR1, and this object notes SIGINT alone. None for a single process.
        """
        self._all_stop, self._stopped = all_stop, False
        self._number: int | None = None
        self._is_answered = False
        self.answered_early: set[int] = set()
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        # In other threads, such as a notebook's helper thread, Python handles no signals.
        if threading.current_thread() is threading.main_thread():
            numbers = handled() if self._all_stop is None else [signal.SIGINT]
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        if self._all_stop is None:
            return self._number is not None
        self._stopped = self._stopped or self._all_stop()
        return self._stopped

    def error(self, what: str) -> StoppedError:
        """Makes the error that ends the run; its message, `what`, says what was saved."""
        return StoppedError(self._number or signal.SIGTERM, what)

    def answer(self, number: int) -> None:
        """Says that a Ctrl-C was noticed; one after another signal ends the process."""
        if number == signal.SIGINT:
            if self._is_answered:
                stop_at_once(number, None)
            os.write(2, b"\nStopping: what is done is saved first. Ctrl-C again ends at once.\n")
        self._is_answered = True

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        _handled_s[number] = time.monotonic()
        self._number = self._number or number
        if number in self.answered_early:
            self.answered_early.discard(number)
        else:
            self.answer(number)
        if self._all_stop is not None:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX tells the others of this signal only.
