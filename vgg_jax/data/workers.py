"""How many worker processes decode a source's images, where the config leaves it open."""

import math
import os
import pathlib

from vgg_jax.counted import counted
from vgg_jax.data.source import Source
from vgg_jax.errors import UndecodableError, require
from vgg_jax.system import launched_by, shared_memory

AUTO = -1  # As a value of data.num_workers.
# The environment variable with a process's share of the cores, where a sweep runs several tasks.
CORES = "VGG_JAX_CORES"

# Decoders run side by side in threads, but Python doesn't. On 2 to 16 cores, threads made as many
# crops as 1.3 to 2.3 workers, and on two cores nearly as many as two: see launch/benchmarks.md.
NUM_THREADS = 4
_WORKERS_FOR_THREADS = 2
_MOST = 16
# More than are of use can be given, for a machine that shares its config with a larger one.
_MOST_GIVEN, _MOST_GIVEN_PER_CORE = 64, 4
_START_S = 3.0  # Workers took 1.5 to 3.7 s to start.

# What an image and each byte of its file take of a core: 1.4 ms for a JPEG of 110 KB.
_IMAGE_S, _BYTE_S = 2e-4, 1e-8
_NUM_SAMPLES = 4


def check(flag: str, num_workers: int) -> None:
    """Checks a number of worker processes.

    Args:
      flag: The flag that gives it, for the message.
      num_workers: The number, or `AUTO`.

    Raises:
      UserError: It is below -1, or so large that starting them would fill the machine's memory.
    """
    fits = f"{AUTO} for as many as the cores and the work are worth, or 0 for threads"
    require(num_workers >= AUTO, f"{flag}={num_workers} must be {AUTO} or above. Give {fits}.")
    cores = available_cores()
    most = max(_MOST_GIVEN, _MOST_GIVEN_PER_CORE * cores)
    require(
        num_workers <= most,
        f"{flag}={num_workers} is too many processes for {counted(cores, 'cores')}; {most} is the "
        f"most. Give {cores}, one for each core, or {fits}.",
    )


def resolved(num_workers: int, source: Source, num_passes: int = 1) -> int:
    """Returns the number of worker processes that read a source; 0 means threads.

    Args:
      num_workers: The number, or `AUTO` for as many as the cores and the work are worth; it means
        threads if there is little shared memory, as in Docker by default.
      source: The images.
      num_passes: How often each of them is read.
    """
    if num_workers != AUTO:
        return num_workers
    if not of_long_work():  # Then no image is read.
        return 0
    return worth(available_cores(), num_passes * decoding_s(source))


def of_long_work() -> int:
    """Returns the number of worker processes that `AUTO` means for much work; 0 means threads."""
    return worth(available_cores(), math.inf) if shared_memory.suffices() else 0


def worth(num_cores: int, work_s: int | float) -> int:
    """Returns the number of worker processes with which work is done soonest.

    There is one for each core, because the main process needs little of its own.

    Args:
      num_cores: The cores that this process and its workers may use.
      work_s: What the work takes on one core, in seconds.

    Returns:
      The number; 0 if threads are as fast.
    """
    count = min(num_cores, _MOST)
    if count <= _WORKERS_FOR_THREADS:
        return 0
    saved_s = work_s * (1 / _WORKERS_FOR_THREADS - 1 / count)
    return count if saved_s > _START_S else 0


def available_cores() -> int:
    """Returns this process's share of the host's cores, at least 1.

    Raises:
      UserError: `CORES` is set, but isn't a number of cores.
    """
    if hasattr(os, "sched_getaffinity"):  # macOS doesn't have it.
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        limit = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text()
    except OSError:  # There are no control groups of version 2.
        limit = "max"
    share = os.environ.get(CORES, f"{cores}")
    require(
        share.isdecimal() and int(share) > 0,
        f"{CORES}={share} must be the number of cores that this process may use. Unset it, or give "
        f"a number from 1 to {cores}.",
    )
    cores = min(cores, allowed(limit) or cores, int(share))
    return max(1, cores // launched_by.processes_here(os.environ))


def allowed(limit: str) -> int | None:
    """Returns the cores that a control group's cpu.max allows, rounded up; None if all."""
    quota, *period = limit.split()
    return None if quota == "max" else -(-int(quota) // int(*period))


def told(num_workers: int) -> str:
    """Returns the words for what decodes images."""
    return f"decoded by {num_workers} worker processes" if num_workers else "decoded by threads"


def decoding_s(source: Source) -> float:
    """Returns the seconds that decoding each image once takes on one core, from a few of them."""
    num_bytes = []
    for index in range(0, len(source), max(1, len(source) // _NUM_SAMPLES)):
        try:
            num_bytes.append(len(source[index].image))
        except UndecodableError:
            num_bytes.append(0)
    mean = sum(num_bytes) / max(1, len(num_bytes))
    return len(source) * (_IMAGE_S + _BYTE_S * mean)
