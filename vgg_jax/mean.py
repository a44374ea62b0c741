"""The training set's mean RGB (§2.1), computed once and cached."""

import concurrent.futures
import json
import os
import pathlib

import numpy as np
from PIL import ImageStat
from tqdm import tqdm

from vgg_jax import images
from vgg_jax.sources import Source

Rgb = tuple[float, float, float]


def mean_rgb(source: Source, cache_dir: str, *, progress: bool = True) -> Rgb:
    """Averages RGB (0-255) over each image, then over the images.

    Every image weighs the same whatever its size, as it does in training. The result is kept in
    cache_dir under the source's fingerprint.

    Raises:
      UserError: An image can't be decoded.
    """
    path = pathlib.Path(cache_dir).expanduser() / "means" / f"{source.fingerprint}.json"
    if path.exists():
        return tuple(json.loads(path.read_text()))

    def of_image(index: int) -> list[float]:
        example = source[index]
        return ImageStat.Stat(images.decode(example.image, example.key)).mean

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        values = list(
            tqdm(
                pool.map(of_image, range(len(source))),
                total=len(source),
                desc="mean RGB of the training set",
                unit=" images",
                disable=not progress,
            )
        )
    mean = tuple(float(value) for value in np.mean(values, axis=0))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(mean))
    partial.replace(path)
    return mean
