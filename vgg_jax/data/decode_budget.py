"""The memory that all decoders of a process and its workers take together is bounded.

Before a file is read or an image decoded, its thread waits for room. A quarter of the budget is for
the bytes of files, and the rest for pixels and what decoders need on the way to them.

The budget is cut into units. A process that uses a unit holds a lock on one byte of a file in
memory, which its workers open too. The kernel releases the locks of a process that is killed.
"""

import contextlib
import ctypes
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeVar

DEFAULT_BYTES = 2**31  # Enough for photos of 50 megapixels in any format.
LEAST_BYTES = 2**24
KEY = "data.decode_bytes (--decode_bytes of vgg_jax.predict and vgg_jax.features)"

T = TypeVar("T")
Use = Literal["file", "pixels"]

_NUM_UNITS = 1024
_UNITS: dict[Use, range] = {
    "file": range(_NUM_UNITS // 4),
    "pixels": range(_NUM_UNITS // 4, _NUM_UNITS),
}
_TURN = _NUM_UNITS  # The byte that a process locks while it looks for units.
_LARGE_BYTES = 2**25  # Above this, freed memory is returned to the system at once.
_SMALL_FILE_BYTES = 2**20  # It needs no room of its own. The room for its pixels includes it.
_POLL_S = 0.01  # Other processes can't wake a thread that waits.


class Address(NamedTuple):
    """Where worker processes find the budget of the process that started them."""

    total_bytes: int
    process: int
    descriptor: int


class _Budget:
    def __init__(self, total_bytes: int, descriptor: int) -> None:
        self.total_bytes, self._descriptor = total_bytes, descriptor
        self._used: set[int] = set()
        self._changed = threading.Condition()

    @property
    def address(self) -> Address:
        return Address(self.total_bytes, os.getpid(), self._descriptor)

    def most(self, use: Use) -> int:
        return self.total_bytes * len(_UNITS[use]) // _NUM_UNITS

    def acquire(self, use: Use, num_bytes: int) -> list[int]:
        count = min(-(-num_bytes * _NUM_UNITS // self.total_bytes), len(_UNITS[use]))
        with self._changed:
            while (units := self._take(_UNITS[use], count)) is None:
                self._changed.wait(_POLL_S)
        return units

    def release(self, units: list[int]) -> None:
        if len(units) * self.total_bytes > _LARGE_BYTES * _NUM_UNITS:
            _return_freed_memory()
        with self._changed:
            for unit in units:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, unit)
            self._used.difference_update(units)
            self._changed.notify_all()

    def _take(self, among: range, count: int) -> list[int] | None:
        taken: list[int] = []
        if count > 1:
            # Two processes that each took a part of the units would keep each other from the rest.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, _TURN)
        for unit in among:
            if len(taken) == count:
                break
            if unit not in self._used and self._lock(unit):
                taken.append(unit)
        enough = len(taken) == count
        if enough:
            self._used.update(taken)
        else:
            for unit in taken:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, unit)
        if count > 1:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _TURN)
        return taken if enough else None

    def _lock(self, unit: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
        except (BlockingIOError, PermissionError):  # Another process has it.
            return False
        return True


def _return_freed_memory() -> None:
    # The C library keeps some tens of MB of what each thread has freed.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's.
    if trim is not None:
        trim(0)


class _Kept(threading.local):
    """The units that this thread keeps until the end of `with_room_kept`."""

    units: dict[Use, list[int]] | None = None
    more_bytes = 0


def _new(total_bytes: int) -> _Budget:
    if hasattr(os, "memfd_create"):
        return _Budget(total_bytes, os.memfd_create("vgg_jax decode budget"))
    return _Budget(total_bytes, os.dup(tempfile.TemporaryFile().fileno()))


_budget = _new(DEFAULT_BYTES)
_kept = _Kept()


def set_bytes(total_bytes: int) -> None:
    """Sets the budget of this process and of the workers that it starts from now on.

    It must be set before images are decoded.
    """
    global _budget
    if total_bytes != _budget.total_bytes:
        _budget = _new(total_bytes)


def address() -> Address:
    """Returns where workers of this process find its budget: see `join`."""
    return _budget.address


def join(found: Address, num_workers: int) -> None:
    """Makes the budget of the process that started this worker the worker's own.

    Where a process can't open another's files, each worker gets an equal part of it.
    """
    global _budget
    try:
        path = f"/proc/{found.process}/fd/{found.descriptor}"
        _budget = _Budget(found.total_bytes, os.open(path, os.O_RDWR))
    except OSError:
        _budget = _new(found.total_bytes // num_workers)


def most_bytes(use: Use) -> int:
    """Returns how many bytes a single file, or the pixels of a single image, may need."""
    return _budget.most(use)


@contextlib.contextmanager
def room(use: Use, num_bytes: int) -> Iterator[None]:
    """Waits until there is room for a file or for the pixels of an image, and keeps it.

    Within `with_room_kept`, the room is kept until the end of that. No thread waits for a file
    while it keeps room for pixels, nor for pixels while it keeps those of another image, so that no
    two threads wait for each other.

    Args:
      use: What the room is for.
      num_bytes: The bytes that are needed, at most `most_bytes`.
    """
    if use == "file" and num_bytes <= _SMALL_FILE_BYTES:
        yield
        return
    budget, kept = _budget, _kept.units
    if kept is not None:
        budget.release(kept.pop("pixels", []))
        if use == "file":
            budget.release(kept.pop("file", []))
        else:
            num_bytes += _kept.more_bytes
    units = budget.acquire(use, num_bytes)
    if kept is not None:
        kept[use] = units
        yield
        return
    try:
        yield
    finally:
        budget.release(units)


def with_room_kept(work: Callable[[], T], more_bytes: int = 0) -> T:
    """Calls a function that reads, decodes and uses an image, and keeps its room until it returns.

    Args:
      work: What to call. It may do so for several images, one after the other.
      more_bytes: What the work on the decoded image needs at most beyond what decoding needs.
    """
    budget = _budget
    _kept.units, _kept.more_bytes = {}, more_bytes
    try:
        return work()
    finally:
        units = [unit for of_use in _kept.units.values() for unit in of_use]
        _kept.units, _kept.more_bytes = None, 0
        budget.release(units)
