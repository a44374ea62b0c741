"""Shared memory, through which worker processes send images: its names, and when it is full."""

import multiprocessing
import secrets
import shutil
import sys
from multiprocessing import resource_tracker, shared_memory

from vgg_jax.storage import owned

# The end of a message about workers that lack memory.
NO_WORKERS = "set data.num_workers=0 (--num_workers=0 of vgg_jax.features)"

# Docker gives 64 MB, which is not even two batches of the paper's 256 crops. A machine without a
# limit of its own has half of its memory.
_ENOUGH_BYTES = 2**30

# Python's tracker removes what is left when all processes have ended, and warns of it. But images
# that JAX still reads, and all that a killed process had, are left as a rule.
_QUIET = "ignore:resource_tracker:UserWarning"


def prepare() -> None:
    """Prepares this process to start workers: what they leave is removed, and without a warning."""
    sys.warnoptions.append(_QUIET)  # Python passes these to the processes that it starts.
    resource_tracker.ensure_running()
    sys.warnoptions.remove(_QUIET)
    if owned.SHARED_MEMORY.is_dir():
        # While the tracker lives, workers of a killed process may still be starting, and it removes
        # what they leave. Python has no public way to choose the names of semaphores.
        prefix = owned.prefix(*filter(None, [resource_tracker._resource_tracker._pid]))
        multiprocessing.current_process()._config["semprefix"] = f"/{prefix}"


def name_after_owner() -> None:
    """Gives this worker's shared memory names that belong to its parent: see `owned`."""
    prefix = multiprocessing.current_process()._config["semprefix"]
    shared_memory._make_filename = lambda: f"{prefix}-{secrets.token_hex(8)}"


def suffices() -> bool:
    """Returns whether workers can send whole batches of images, as far as that is known."""
    there = owned.SHARED_MEMORY.is_dir()
    return not there or shutil.disk_usage(owned.SHARED_MEMORY).total >= _ENOUGH_BYTES


def about() -> str:
    """Returns the size of shared memory, and what to do, as sentences."""
    size_mb = shutil.disk_usage(owned.SHARED_MEMORY).total / 1e6
    return (
        f"{owned.SHARED_MEMORY} has {size_mb:,.1f} MB, through which worker processes send images. "
        f"Give it more (docker run --shm-size=8g), or {NO_WORKERS}."
    )
