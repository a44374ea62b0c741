"""The same crops by Pillow alone: the whole image is resized, then cropped, as in torchvision."""

import io
import multiprocessing
import pathlib
from collections.abc import Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from launch.benchmark.sides import process

BATCH = 32  # Images per batch.
BATCHES = 4  # Batches of each worker between two looks at the clock.


def measure(
    paths: list[str],
    train_scale: list[int],
    crop_px: int,
    workers: int,
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Times crops, then decoding: see `product_input.measure`.

    Args:
      paths: The image files.
      train_scale, crop_px, workers, timing: See there.
    """
    count = BATCHES * workers
    memory = RawArray("B", count * BATCH * crop_px**2 * 3)
    pixels = np.frombuffer(memory, np.uint8).reshape(count, BATCH, crop_px, crop_px, 3)
    with multiprocessing.get_context("fork").Pool(
        workers, _begin, (memory, paths, train_scale, crop_px)
    ) as pool:

        def take() -> None:
            pool.map(_fill, range(count), chunksize=1)
            pixels.copy()  # The workers write to the same memory again.

        _, seconds = process.timed(take, **timing)
    few = [pathlib.Path(path).read_bytes() for path in paths[:100]]
    _, decode_s = process.timed(lambda: [decoded(data) for data in few], **timing)
    return {
        "seconds": [each / (count * BATCH) for each in seconds],
        "decode_s": [each / len(few) for each in decode_s],
    }


def decoded(data: bytes) -> Image.Image:
    """Decodes an image file to RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def crop(
    image: Image.Image, train_scale: Sequence[int], crop_px: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "crop_px crop_px 3"]:
    """Draws a crop: a uniform S, resizes the whole image, cuts the crop out, perhaps flips it."""
    scale = int(rng.integers(train_scale[0], train_scale[1], endpoint=True))
    short = min(image.size)
    width, height = (max(scale, round(side * scale / short)) for side in image.size)
    left = int(rng.integers(0, width - crop_px, endpoint=True))
    top = int(rng.integers(0, height - crop_px, endpoint=True))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + crop_px, top + crop_px))
    if rng.integers(2):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


class _Worker:
    """The state of a worker process, which `_begin` sets."""

    pixels: np.ndarray
    paths: list[str]
    train_scale: list[int]
    rng: np.random.Generator


def _begin(memory: Any, paths: list[str], train_scale: list[int], crop_px: int) -> None:
    _Worker.pixels = np.frombuffer(memory, np.uint8).reshape(-1, BATCH, crop_px, crop_px, 3)
    _Worker.paths, _Worker.train_scale = paths, train_scale
    _Worker.rng = np.random.default_rng()


def _fill(number: int) -> None:
    batch, paths, rng = _Worker.pixels[number], _Worker.paths, _Worker.rng
    for place, index in enumerate(rng.integers(0, len(paths), BATCH)):
        image = decoded(pathlib.Path(paths[index]).read_bytes())
        batch[place] = crop(image, _Worker.train_scale, batch.shape[1], rng)


if __name__ == "__main__":
    process.run(measure, without=("jax", "torch", "grain"))
