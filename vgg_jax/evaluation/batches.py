"""Batches of rescaled whole images (§3.2)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import grain.python as grain
import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from vgg_jax.data import decode_budget, decoder_memory, images, prefetch
from vgg_jax.data.prefetch import Shard
from vgg_jax.evaluation import size_buckets

PaddedBatch = dict[str, UInt8[np.ndarray, "b h w 3"] | Int32[np.ndarray, "b 2"]]


def image_batches(
    load_image: Callable[[int], Image.Image],
    batches: Sequence[size_buckets.PlannedBatch],
    *,
    scale: int,
    shard: Shard,
    num_workers: int,
) -> Iterator[PaddedBatch]:
    """Yields the batches of a plan, filled with rescaled whole images (§3.2).

    Args:
      load_image: Takes an index and returns the image; picklable if there are workers.
      batches: The batches of a `size_buckets.plan`.
      scale: The test scale Q, in px.
      shard: The part of each batch that this process loads.
      num_workers: Number of processes that decode; 0 decodes in threads of this process.

    Yields:
      {"image": uint8 RGB, padded on the right and below with zeros, "size": int32 height and
      width}. Empty places hold blank images of full size.
    """
    filled = grain.MapDataset.range(len(batches)).map(
        _Fill(load_image, tuple(batches), scale, shard)
    )
    return prefetch.prefetched(filled, num_workers)


@dataclasses.dataclass(frozen=True)
class _Fill(grain.MapTransform):
    load_image: Callable[[int], Image.Image]
    batches: tuple[size_buckets.PlannedBatch, ...]
    scale: int
    shard: Shard

    def map(self, element: int) -> PaddedBatch:
        batch = self.batches[element]
        places = len(batch.indices) // self.shard.count
        indices = batch.indices[self.shard.index * places :][:places]
        image = np.zeros((places, batch.height, batch.width, 3), np.uint8)
        size = np.tile(np.int32([batch.height, batch.width]), (places, 1))
        more_bytes = decoder_memory.of_rescaled(batch.height, batch.width)
        for place, index in enumerate(indices):
            if index >= 0:
                rescale = functools.partial(self._rescaled, int(index))
                pixels = decode_budget.with_room_kept(rescale, more_bytes)
                size[place] = pixels.shape[:2]
                image[place, : pixels.shape[0], : pixels.shape[1]] = pixels
        return {"image": image, "size": size}

    def _rescaled(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        return images.rescale(self.load_image(index), self.scale)
