"""What SIGTERM and Ctrl-C do: a run that is under way saves, then ends."""

import os
import signal
import threading
import types
from collections.abc import Callable

EXIT_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130}


class StoppedError(BaseException):
    """A signal ended the run. Not an Exception, so that nothing that expects those catches it.

    Attributes:
      signal: Which.
    """

    def __init__(self, number: int, what: str) -> None:
        super().__init__(what)
        self.signal = signal.Signals(number)


def stop_at_once(number: int, frame: types.FrameType | None) -> None:
    """Handles a signal where there is nothing to save.

    Without an exception, which a callback of the garbage collector may swallow, and without
    Python's own end, which was seen to crash over threads that were about to start workers.
    """
    # Not print, which raises where the signal met another print.
    os.write(2, b"\nStopped. Nothing that was saved is lost; the same command goes on.\n")
    os._exit(EXIT_STATUS[number])


class StopRequest:
    """While entered, a first signal is noted, for the loop to act upon between two steps.

    True once there was one. Of Ctrl-C a second one ends the run at once.
    """

    def __init__(self, all_stop: Callable[[], bool] | None = None) -> None:
        """Makes a request.

        Args:
          all_stop: Where several processes run, whether all of them stop now: asked at each look
            until it is true. SIGTERM is then noted by JAX, not here.
        """
        self._all_stop, self._stopped = all_stop, False
        self._number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        # Elsewhere, as in a notebook's helper thread, Python handles no signals.
        if threading.current_thread() is threading.main_thread():
            numbers = EXIT_STATUS if self._all_stop is None else (signal.SIGINT,)
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
        """Makes the error that ends the run, which says what was saved."""
        return StoppedError(self._number or signal.SIGTERM, what)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self._number = self._number or number
        signal.signal(signal.SIGINT, stop_at_once)
        if self._all_stop is not None:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX passes on this signal alone.
