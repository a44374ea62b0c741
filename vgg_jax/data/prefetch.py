"""Computes the elements of a data set in advance, in threads or in worker processes (Grain)."""

import concurrent.futures
import dataclasses
import errno
import functools
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grain.python as grain
from absl import flags

from vgg_jax.data import decode_budget, workers
from vgg_jax.errors import UserError
from vgg_jax.system import shared_memory, signals


@dataclasses.dataclass(frozen=True)
class Shard:
    """This process's part of each batch: block `index` of `count` equal blocks."""

    index: int = 0
    count: int = 1


def prefetched(batches: grain.MapDataset, num_workers: int) -> Iterator[Any]:
    """Computes a data set's elements in advance, in order, until the iterator is closed.

    Args:
      batches: The data set. Its elements should be whole batches, because each one is sent in a
        message between processes.
      num_workers: Worker processes, which end when this process ends; 0 means threads of this
        process.
    """
    # The buffers are counted in batches; the default of 500 would hold 10 GB of crops.
    if not num_workers:
        read = grain.ReadOptions(num_threads=workers.NUM_THREADS, prefetch_buffer_size=4)
        return iter(batches.to_iter_dataset(read))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain passes them to its workers; notebooks parse none.
    read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
    begin = functools.partial(_begin_worker, decode_budget.address())
    dataset = batches.to_iter_dataset(read).mp_prefetch(options, worker_init_fn=begin)
    return _Started(lambda: iter(dataset))


class _Started(Iterator[Any]):
    """An iterator whose workers start at once, from a thread that blocks the signals of a stop.

    The workers inherit this. Otherwise a Ctrl-C, which a terminal sends to all processes, ended a
    worker that was still importing and did not ignore it yet. That ended the run.
    """

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        def begin() -> Iterator[Any]:
            signal.pthread_sigmask(signal.SIG_BLOCK, signals.EXIT_STATUS)
            shared_memory.prepare()  # It unblocks SIGINT and SIGTERM.
            signal.pthread_sigmask(signal.SIG_BLOCK, signals.EXIT_STATUS)
            iterator = make()
            self._first.append(next(iterator))
            return iterator

        self._first: list[Any] = []
        thread = concurrent.futures.ThreadPoolExecutor(1)
        self._begun = thread.submit(begin)
        thread.shutdown(wait=False)

    def __next__(self) -> Any:
        try:
            iterator = self._begun.result()
            return self._first.pop() if self._first else next(iterator)
        except (OSError, RuntimeError) as error:
            lacking = _lacking(error)
            if lacking is None:
                raise
            raise UserError(lacking) from error

    def close(self) -> None:
        """Ends the workers."""
        if self._begun.exception() is None:
            self._begun.result().close()


def _lacking(error: OSError | RuntimeError) -> str | None:
    """Returns the message that says what a worker process lacked; None if it isn't known."""
    # Workers write nothing but shared memory. Without room for a page of it, they get SIGBUS.
    died = re.search(r"terminated unexpectedly with exit code -(\d+)", str(error))
    signal_number = int(died[1]) if died else None
    if getattr(error, "errno", None) == errno.ENOSPC or signal_number == signal.SIGBUS:
        return f"Shared memory is full: {shared_memory.about()}"
    if signal_number == signal.SIGKILL:
        fewer = f"Take fewer, or {shared_memory.NO_WORKERS}."
        return f"A worker process was killed, as when memory runs out. {fewer}"
    return None


def _begin_worker(budget: decode_budget.Address, worker_index: int, worker_count: int) -> None:
    del worker_index
    decode_budget.join(budget, worker_count)
    shared_memory.name_after_owner()
    _live_as_long_as_the_parent()


def _live_as_long_as_the_parent() -> None:
    # Signals may reach the whole process group; the parent decides when its workers end.
    for number in signals.EXIT_STATUS:
        signal.signal(number, signal.SIG_IGN)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    # A parent that is killed can't end its workers, and they would wait for it forever.
    threading.Thread(target=end_with_parent, daemon=True).start()
