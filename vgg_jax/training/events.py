"""TensorBoard's events, written with tensorboardX."""

import contextlib
import pathlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vgg_jax.storage import files

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

_FLUSH_EVERY_S = 120


class Events:
    """A file of events.

    tensorboardX's own writer has a thread. On a full disk that thread ends with a traceback, and
    its caller then waits for ever.
    """

    def __init__(self, folder: pathlib.Path, start_step: int) -> None:
        """Makes a file in a folder. TensorBoard leaves out what other files have after start_step.

        Raises:
          OSError: The file can't be written.
        """
        # Imported here, because its own imports take half a second.
        with _without_torch():
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = RecordWriter(str(self._path))
        self._flushed_s = 0.0
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def add(self, kind: str, step: int, values: Mapping[str, int | float]) -> None:
        """Adds the values after a step, as KIND/NAME.

        Raises:
          OSError: The file can't be written.
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            summary = scalar(f"{kind}/{name}", value)
            self._write(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() > self._flushed_s + _FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Writes to the disk what was added."""
        with files.named(self._path):
            self._file.flush()
        self._flushed_s = time.monotonic()

    def close(self) -> None:
        """Flushes and closes the file."""
        with files.named(self._path):
            self._file.close()

    def _write(self, event: "Event") -> None:
        with files.named(self._path):
            self._file.write(event.SerializeToString())


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    # tensorboardX imports PyTorch where it is installed, which takes a second and serves only its
    # own writer.
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None
    try:
        yield
    finally:
        del sys.modules["torch"]
