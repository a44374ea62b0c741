"""This code's input: random crops from worker processes, and decoding by itself."""

from typing import Any

import numpy as np

from launch.benchmark.opened import open_data
from launch.benchmark.sides import pillow_input, process
from vgg_jax.data import crops, images
from vgg_jax.data.source import Source

_COMPARED = 100  # Images whose crops are compared with Pillow's.


def measure(
    data: str,
    data_name: str | None,
    train_scale: list[int],
    crop_px: int,
    workers: int,
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Times crops, then decoding, then reading.

    Args:
      data, data_name: See `opened.open_data`.
      train_scale: The smallest and the largest S, in px.
      crop_px: Side of the crops, in px.
      workers: Worker processes; 0 means threads.
      timing: See `process.timed`.

    Returns:
      The seconds of one image: "seconds" of crops by all workers together, and "decode_s" of
      decoding in one process; and "read_s" of reading images at random places in one process.
      "difference" is the largest of any value of a crop to Pillow's, in grey levels, and
      "differing" the share of values that differ.
    """
    source, batch = open_data(data, data_name), pillow_input.BATCH
    batches = crops.train_batches(
        source,
        crops.Batching(batch, crop_px, num_workers=workers),
        train_scale=(train_scale[0], train_scale[1]),
        seed=0,
    )
    rounds = pillow_input.BATCHES * max(1, workers)

    def take() -> None:
        for _ in range(rounds):
            next(batches)

    _, seconds = process.timed(take, **timing)
    batches.close()
    few = [source[index] for index in range(min(len(source), _COMPARED))]
    _, decode_s = process.timed(
        lambda: [images.decode(example.image, example.key) for example in few], **timing
    )
    places = np.random.default_rng(0).permutation(len(source))[:_COMPARED].tolist()
    _, read_s = process.timed(lambda: [source[index] for index in places], **timing)
    of_values = differences(source, len(few), train_scale, crop_px)
    return {
        "seconds": [each / (rounds * batch) for each in seconds],
        "decode_s": [each / len(few) for each in decode_s],
        "read_s": [each / len(places) for each in read_s],
        "difference": int(of_values.max()),
        "differing": float((of_values > 0).mean()),
    }


def differences(source: Source, count: int, train_scale: list[int], crop_px: int) -> np.ndarray:
    """Returns by how much the values of crops differ from Pillow's of the same random numbers."""
    ours = crops._RandomCrop(source, (train_scale[0], train_scale[1]), crop_px)
    found = []
    for index in range(count):
        one = ours.random_map(index, np.random.default_rng(index))["image"]
        image = pillow_input.decoded(source[index].image)
        rng = np.random.default_rng(index)
        found.append(one.astype(np.int16) - pillow_input.crop(image, train_scale, crop_px, rng))
    return np.abs(found)


if __name__ == "__main__":
    process.run(measure, without=("torch",))
