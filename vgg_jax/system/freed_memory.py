"""Lets the process keep the memory that it frees, which is faster on CPUs."""

import ctypes
import os

# The parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep() -> None:
    """Makes glibc keep freed memory for this process's next allocations.

    XLA allocates an array's memory for each computation. By default glibc returns large blocks to
    the system at once, so that each page of the next array is cleared first: on two cores, the
    forward pass of net D took 760 ms instead of 634 ms, and copies reached 7 GB/s instead of 54.

    Call it before the process starts threads. An environment that has settings of its own for the
    allocator stays as it is, and so does any other allocator.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # All blocks come from one heap, because glibc maps large blocks for the heaps of threads.
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)  # The heap never shrinks.
