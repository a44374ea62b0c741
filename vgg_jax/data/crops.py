"""Makes batches of crops from a source: shuffle, decode, crop, batch, shard, prefetch (Grain).

A batch depends only on (source, seed, step). So runs with any number of worker processes and hosts
get the same batches, and a run can resume at any step.
"""

import dataclasses
from collections.abc import Iterator

import grain.python as grain
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from vgg_jax.data import decode_budget, images, prefetch, shuffle
from vgg_jax.data.prefetch import Shard
from vgg_jax.data.source import Example, Source

CropBatch = dict[
    str,
    UInt8[np.ndarray, "b h w 3"] | Int32[np.ndarray, " b"] | Float32[np.ndarray, " b"],
]
Element = dict[str, UInt8[np.ndarray, "crop_px crop_px 3"] | np.int32 | np.float32]


@dataclasses.dataclass(frozen=True)
class Batching:
    """How crops are batched, in training and in validation.

    Attributes:
      batch_size: Images per batch over all processes, a multiple of shard.count.
      crop_px: Side of the crops, in px.
      shard: The part of each batch that this process computes.
      num_workers: Worker processes that decode; 0 means threads of this process.
    """

    batch_size: int
    crop_px: int
    shard: Shard = Shard()
    num_workers: int = 0

    def batches(self, crops: grain.MapDataset) -> grain.MapDataset:
        """Returns this process's part of each batch."""
        shard = self.shard
        return crops.batch(self.batch_size // shard.count)[shard.index :: shard.count]


def train_batches(
    source: Source,
    batching: Batching,
    *,
    train_scale: tuple[int, int],
    seed: int,
    start_step: int = 0,
) -> Iterator[CropBatch]:
    """Yields training batches without end; each epoch has a new order (§3.1).

    Args:
      source: The training split.
      batching: How its crops are batched.
      train_scale: The smallest and the largest S, in px.
      seed: The seed of the order, the scales, the places of the crops and the flips.
      start_step: The number of batches to skip when a run resumes. Skipping takes no time.

    Yields:
      {"image": uint8 RGB crops, "label": int32}, with batch_size / shard.count of each.
    """
    crops = shuffle.endless(source, seed).random_map(
        _RandomCrop(source, train_scale, batching.crop_px)
    )
    return prefetch.prefetched(batching.batches(crops)[start_step:], batching.num_workers)


def num_val_batches(num_images: int, batch_size: int) -> int:
    """Returns the number of batches per pass over the validation split, the padded one included."""
    return -(-num_images // batch_size)


def val_batches(source: Source, batching: Batching, *, val_scale: int) -> Iterator[CropBatch]:
    """Yields batches of the validation split's centre crops, in endless passes.

    Each pass has `num_val_batches` batches.

    Args:
      source: The validation split.
      batching: How its crops are batched.
      val_scale: The test scale Q, in px.

    Yields:
      {"image", "label", "weight"}: weight is 1 for an image and 0 for padding in the last
      batch. So every process gets the same number of batches, all of one shape.
    """
    length = num_val_batches(len(source), batching.batch_size) * batching.batch_size
    crops = grain.MapDataset.range(length).map(_CentreCrop(source, val_scale, batching.crop_px))
    batches = batching.batches(crops).repeat(shuffle.ENDLESS_EPOCHS)
    return prefetch.prefetched(batches, batching.num_workers)


@dataclasses.dataclass(frozen=True)
class _RandomCrop(grain.RandomMapTransform):
    source: Source
    train_scale: tuple[int, int]
    crop_px: int

    def random_map(self, element: int, rng: np.random.Generator) -> Element:
        def crop() -> Element:
            example = self.source[element]
            pixels = images.decode_crop(
                example.image,
                example.key,
                lambda size: images.random_cut(size, self.train_scale, self.crop_px, rng),
            )
            return {"image": pixels, "label": np.int32(example.label)}

        return decode_budget.with_room_kept(crop)


@dataclasses.dataclass(frozen=True)
class _CentreCrop(grain.MapTransform):
    source: Source
    val_scale: int
    crop_px: int

    def map(self, element: int) -> Element:
        if element >= len(self.source):
            blank = np.zeros((self.crop_px, self.crop_px, 3), np.uint8)
            return {"image": blank, "label": np.int32(0), "weight": np.float32(0)}
        return decode_budget.with_room_kept(lambda: self._crop(self.source[element]))

    def _crop(self, example: Example) -> Element:
        crop = images.decode_crop(
            example.image,
            example.key,
            lambda size: images.centre_cut(size, self.val_scale, self.crop_px),
        )
        return {"image": crop, "label": np.int32(example.label), "weight": np.float32(1)}
