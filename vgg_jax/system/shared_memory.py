"""Shared memory, through which worker processes send images, and what to do when it is full."""

import shutil

_FOLDER = "/dev/shm"

# The end of a message about workers that lack memory.
NO_WORKERS = "set data.num_workers=0 (--num_workers=0 of vgg_jax.features)"


def about() -> str:
    """Returns the size of shared memory, and what to do, as sentences."""
    size_mb = shutil.disk_usage(_FOLDER).total / 1e6
    return (
        f"{_FOLDER} has {size_mb:,.1f} MB, through which worker processes send images. Give it "
        f"more (docker run --shm-size=8g), or {NO_WORKERS}."
    )
