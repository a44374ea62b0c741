"""From a source to batches of crops: shuffle, shard, decode, crop, batch, prefetch (Grain).

What a batch holds depends on (source, seed, step) alone, so that runs agree for any number of
worker processes and any number of hosts, and a run resumes at any step.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import grain.python as grain
import numpy as np
from absl import flags
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from vgg_jax import buckets, images
from vgg_jax.examples import Example, Source

Batch = dict[
    str,
    UInt8[np.ndarray, "b h w 3"]
    | Int32[np.ndarray, "b 2"]
    | Int32[np.ndarray, " b"]
    | Float32[np.ndarray, " b"],
]
Element = dict[str, UInt8[np.ndarray, "crop_px crop_px 3"] | np.int32 | np.float32]

# Grain's repeat(None) is as long as an index can be, and overflows when it is sliced.
ENDLESS_EPOCHS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Shard:
    """This process's part of each batch: block `index` of `count` equal ones."""

    index: int = 0
    count: int = 1


def train_batches(
    source: Source,
    *,
    batch_size: int,
    train_scale: tuple[int, int],
    crop_px: int,
    seed: int,
    start_step: int = 0,
    shard: Shard = Shard(),
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Yields training batches without end, each epoch in a new order (§3.1).

    Args:
      source: The training split.
      batch_size: Of all processes together.
      train_scale: Smallest and largest S, px.
      crop_px: Side of the crop.
      seed: Of the order, the scales, the places and the flips.
      start_step: Batches to leave out, to resume; takes no time.
      shard: Which part of each batch is wanted here.
      num_workers: Processes that decode; 0 decodes in threads of this process.

    Yields:
      {"image": uint8 RGB crops, "label": int32}, batch_size / shard.count of each.
    """
    crops = (
        grain.MapDataset.source(source)
        .seed(seed)
        .shuffle()
        .repeat(ENDLESS_EPOCHS)
        .random_map(_RandomCrop(train_scale, crop_px))
    )
    batches = crops.batch(batch_size // shard.count)[shard.index :: shard.count]
    return prefetched(batches[start_step:], num_workers)


def num_val_batches(num_images: int, batch_size: int) -> int:
    """Batches in one pass over the validation split, the last one filled up."""
    return -(-num_images // batch_size)


def val_batches(
    source: Source,
    *,
    batch_size: int,
    val_scale: int,
    crop_px: int,
    shard: Shard = Shard(),
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Yields the validation split's centre crops, over and over, `num_val_batches` a pass.

    Args:
      source: The validation split.
      batch_size: Of all processes together.
      val_scale: Q, px.
      crop_px: Side of the crop.
      shard: Which part of each batch is wanted here.
      num_workers: Processes that decode; 0 decodes in threads of this process.

    Yields:
      {"image", "label", "weight"}: weight is 1 for an image and 0 for what fills up the last
      batch, so that every process sees batches of one shape, equally many.
    """
    length = num_val_batches(len(source), batch_size) * batch_size
    crops = grain.MapDataset.range(length).map(_CentreCrop(source, val_scale, crop_px))
    batches = crops.batch(batch_size // shard.count)[shard.index :: shard.count]
    return prefetched(batches.repeat(ENDLESS_EPOCHS), num_workers)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A source's images by index, decoded."""

    source: Source

    def __call__(self, index: int) -> Image.Image:
        """Decodes an image."""
        example = self.source[index]
        return images.decode(example.image, example.key)


def image_batches(
    load_image: Callable[[int], Image.Image],
    batches: Sequence[buckets.Batch],
    *,
    scale: int,
    shard: Shard = Shard(),
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Yields whole images, rescaled, in the batches of a plan (§3.2).

    Args:
      load_image: From an image's index to the image; picklable where there are workers.
      batches: See `buckets.plan`.
      scale: Q, px.
      shard: Which part of each batch is wanted here.
      num_workers: Processes that decode; 0 decodes in threads of this process.

    Yields:
      {"image": uint8 RGB, padded on the right and below with zeros, "size": int32 height and
      width}. Empty places hold blank images of full size.
    """
    filled = grain.MapDataset.range(len(batches)).map(
        _Fill(load_image, tuple(batches), scale, shard)
    )
    return prefetched(filled, num_workers)


def prefetched(batches: grain.MapDataset, num_workers: int) -> Iterator[Any]:
    """Computes a data set's elements ahead, in order, until the iterator is closed.

    Args:
      batches: Elements that are worth a message between processes: whole batches.
      num_workers: Processes that compute them, which end with this one; 0 for threads of this one.
    """
    # The buffers are counted in batches; the default of 500 would hold 10 GB of crops.
    if not num_workers:
        read = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
        return iter(batches.to_iter_dataset(read))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain hands them to its workers; a notebook has none.
    read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
    dataset = batches.to_iter_dataset(read).mp_prefetch(
        options, worker_init_fn=_live_as_long_as_the_parent
    )
    return _Started(lambda: iter(dataset))


class _Started(Iterator[Any]):
    """An iterator whose workers start now, in a thread that signals don't reach.

    Processes and threads inherit that. A Ctrl-C, which a terminal sends to all of them, otherwise
    ended a worker that was in its imports and had not come to ignore it, and with it the run.
    """

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        def begin() -> Iterator[Any]:
            resource_tracker.ensure_running()  # It would unblock them when it starts.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            iterator = make()
            self._first.append(next(iterator))
            return iterator

        self._first: list[Any] = []
        thread = concurrent.futures.ThreadPoolExecutor(1)
        self._begun = thread.submit(begin)
        thread.shutdown(wait=False)

    def __next__(self) -> Any:
        iterator = self._begun.result()
        return self._first.pop() if self._first else next(iterator)

    def close(self) -> None:
        """Ends the workers."""
        if self._begun.exception() is None:
            self._begun.result().close()


def _live_as_long_as_the_parent(worker_index: int, worker_count: int) -> None:
    del worker_index, worker_count
    # Ctrl-C and SIGTERM reach the whole process group; the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    # A parent that was killed could not end them: they would wait for it for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()


@dataclasses.dataclass(frozen=True)
class _RandomCrop(grain.RandomMapTransform):
    train_scale: tuple[int, int]
    crop_px: int

    def random_map(self, element: Example, rng: np.random.Generator) -> Element:
        crop = images.random_crop(
            images.decode(element.image, element.key), self.train_scale, self.crop_px, rng
        )
        return {"image": crop, "label": np.int32(element.label)}


@dataclasses.dataclass(frozen=True)
class _CentreCrop(grain.MapTransform):
    source: Source
    val_scale: int
    crop_px: int

    def map(self, element: int) -> Element:
        if element >= len(self.source):
            blank = np.zeros((self.crop_px, self.crop_px, 3), np.uint8)
            return {"image": blank, "label": np.int32(0), "weight": np.float32(0)}
        example = self.source[element]
        crop = images.centre_crop(
            images.decode(example.image, example.key), self.val_scale, self.crop_px
        )
        return {"image": crop, "label": np.int32(example.label), "weight": np.float32(1)}


@dataclasses.dataclass(frozen=True)
class _Fill(grain.MapTransform):
    load_image: Callable[[int], Image.Image]
    batches: tuple[buckets.Batch, ...]
    scale: int
    shard: Shard

    def map(self, element: int) -> Batch:
        batch = self.batches[element]
        places = len(batch.indices) // self.shard.count
        indices = batch.indices[self.shard.index * places :][:places]
        image = np.zeros((places, batch.height, batch.width, 3), np.uint8)
        size = np.tile(np.int32([batch.height, batch.width]), (places, 1))
        for place, index in enumerate(indices):
            if index >= 0:
                pixels = images.rescale(self.load_image(int(index)), self.scale)
                size[place] = pixels.shape[:2]
                image[place, : pixels.shape[0], : pixels.shape[1]] = pixels
        return {"image": image, "size": size}
