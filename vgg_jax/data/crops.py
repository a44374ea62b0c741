"""From a source to batches of crops: shuffle, shard, decode, crop, batch, prefetch (Grain).

What a batch holds depends on (source, seed, step) alone, so that runs agree for any number of
worker processes and any number of hosts, and a run resumes at any step.
"""

import dataclasses
from collections.abc import Iterator

import grain.python as grain
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from vgg_jax.data import images, prefetch
from vgg_jax.data.prefetch import Shard
from vgg_jax.data.source import Example, Source

CropBatch = dict[
    str,
    UInt8[np.ndarray, "b h w 3"] | Int32[np.ndarray, " b"] | Float32[np.ndarray, " b"],
]
Element = dict[str, UInt8[np.ndarray, "crop_px crop_px 3"] | np.int32 | np.float32]

# Grain's repeat(None) is as long as an index can be, and overflows when it is sliced.
ENDLESS_EPOCHS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Batching:
    """How crops are batched, in training and in validation.

    Attributes:
      batch_size: Images of a batch on all processes together; shard.count divides it.
      crop_px: Side of the crops.
      shard: The part of each batch that is wanted here.
      num_workers: Processes that decode; 0 decodes in threads of this process.
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
    """Yields training batches without end, each epoch in a new order (§3.1).

    Args:
      source: The training split.
      batching: How its crops are batched.
      train_scale: Smallest and largest S, px.
      seed: Decides the order, the scales, the places and the flips.
      start_step: Batches to leave out, to resume; takes no time.

    Yields:
      {"image": uint8 RGB crops, "label": int32}, batch_size / shard.count of each.
    """
    crops = (
        grain.MapDataset.source(source)
        .seed(seed)
        .shuffle()
        .repeat(ENDLESS_EPOCHS)
        .random_map(_RandomCrop(train_scale, batching.crop_px))
    )
    return prefetch.prefetched(batching.batches(crops)[start_step:], batching.num_workers)


def num_val_batches(num_images: int, batch_size: int) -> int:
    """Counts the batches of one pass over the validation split, the last one filled up."""
    return -(-num_images // batch_size)


def val_batches(source: Source, batching: Batching, *, val_scale: int) -> Iterator[CropBatch]:
    """Yields the validation split's centre crops, over and over, `num_val_batches` a pass.

    Args:
      source: The validation split.
      batching: How its crops are batched.
      val_scale: Q, px.

    Yields:
      {"image", "label", "weight"}: weight is 1 for an image and 0 for what fills up the last
      batch, so that every process sees batches of one shape, equally many.
    """
    length = num_val_batches(len(source), batching.batch_size) * batching.batch_size
    crops = grain.MapDataset.range(length).map(_CentreCrop(source, val_scale, batching.crop_px))
    batches = batching.batches(crops).repeat(ENDLESS_EPOCHS)
    return prefetch.prefetched(batches, batching.num_workers)


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
