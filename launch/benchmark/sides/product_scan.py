"""This code's scan of a source."""

import tempfile
import time
from typing import Any

import numpy as np

from launch.benchmark.opened import open_data
from launch.benchmark.sides import process
from vgg_jax.data.scan import IMAGES_A_MESSAGE, scan
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import ScanOptions


def measure(data: str, data_name: str | None, num_images: int, workers: int) -> dict[str, Any]:
    """Times a scan of few images, which is mostly its start, and of many.

    Args:
      data, data_name: See `opened.open_data`.
      num_images: How many images are scanned; they are repeated if there are fewer.
      workers: Worker processes; 0 means threads.

    Returns:
      "seconds": those of one image of the many, without the start; and "start_s".
    """
    source, few = open_data(data, data_name), IMAGES_A_MESSAGE * max(1, workers)
    start_s = _seconds(source, few, workers)
    seconds = _seconds(source, few + num_images, workers) - start_s
    return {"seconds": [seconds / num_images], "start_s": [start_s]}


def _seconds(source: Source, count: int, workers: int) -> float:
    images = Subset(source, np.arange(count) % len(source))
    with tempfile.TemporaryDirectory() as cache_dir:
        options = ScanOptions(cache_dir, num_workers=workers, progress=False)
        begin_s = time.perf_counter()
        scan(images, "test", options)
        return time.perf_counter() - begin_s


if __name__ == "__main__":
    process.run(measure, without=("torch",))
