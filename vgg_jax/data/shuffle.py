"""The order of the training images: every image once per epoch, each epoch in a new order (§3.1).

The order depends on the source and the seed alone. Any place in it is found without the images
before it, so that a run can resume at any step.
"""

import dataclasses
import functools
import threading

import grain.python as grain
import numpy as np
from jaxtyping import Int, Int32

from vgg_jax.data.source import Source, block_starts

# Grain's repeat(None) has the greatest length that an index allows, and overflows when sliced.
ENDLESS_EPOCHS = 1_000_000

# A source in blocks reads a whole block for each image, and only once for images of a block that
# follow one another. So the images of a block, in random order, are cut into this many pieces that
# stay together. With row groups of 100 JPEGs of 110 KB, a read takes 3 to 4 ms for 20 images. They
# then cost 1.1 to 1.25 times what they cost as files (launch/benchmarks.md), whatever the number of
# workers and hosts. A batch of 256 images has images of 13 row groups.
PIECES = 5

# The pieces of a block lie within about this many images of the order. Where the system has memory
# to cache 700 of ImageNet's row groups (7.7 GB), each is read from the disk once per epoch; with
# memory for 500, 1.4 times.
WINDOW_IMAGES = 50_000

_MIXED_IMAGES = 256  # Batches are judged by this many images.

_TURN = threading.Lock()


def endless(source: Source, seed: int) -> grain.MapDataset:
    """Returns the indices of the images of ENDLESS_EPOCHS epochs, with the seed for what follows.

    Args:
      source: The training split.
      seed: The seed of the order.
    """
    starts = block_starts(source)
    if starts is None:
        return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(ENDLESS_EPOCHS)
    return grain.MapDataset.source(_InBlocks(starts, len(source), seed)).seed(seed)


@dataclasses.dataclass(frozen=True, eq=False)
class _InBlocks:
    starts: Int[np.ndarray, " blocks"]
    num_images: int
    seed: int

    def __len__(self) -> int:
        return ENDLESS_EPOCHS * self.num_images

    def __getitem__(self, place: int) -> int:
        epoch, place_in_epoch = divmod(int(place), self.num_images)
        with _TURN:  # Otherwise each thread would compute the order of a new epoch.
            order = _order_of(self, epoch)
        return int(order[place_in_epoch])


@functools.lru_cache(maxsize=4)  # Threads that prefetch work on two epochs at once.
def _order_of(images: _InBlocks, epoch: int) -> Int32[np.ndarray, " n"]:
    rng = np.random.default_rng((images.seed, epoch))
    return order_in_blocks(images.starts, images.num_images, rng)


def order_in_blocks(
    starts: Int[np.ndarray, " blocks"], num_images: int, rng: np.random.Generator
) -> Int32[np.ndarray, " n"]:
    """Returns a random order of images that are stored in blocks.

    It takes 0.07 s for 1.3 million images.

    Args:
      starts: The index of the first image of each block, in ascending order.
      num_images: The number of images.
      rng: Makes the order.
    """
    lengths = np.diff(starts, append=num_images)
    num_blocks = len(starts)
    block = np.repeat(np.arange(num_blocks), lengths)
    images = np.argsort(block + rng.random(num_images))  # In random order within each block.
    piece = (np.arange(num_images) - starts[block]) * PIECES // lengths[block]
    # The blocks follow one another in random order, and each piece lies at a random place of a
    # window that begins at its block. Disjoint windows would read new blocks in bursts.
    window = WINDOW_IMAGES * num_blocks / num_images
    place = rng.permutation(num_blocks)[:, None] + window * rng.random((num_blocks, PIECES))
    return images[np.argsort(place[block, piece], kind="stable")].astype(np.int32)


def warning(source: Source, seed: int) -> str:
    """Returns a sentence about batches that lack classes, because blocks do; "" if they don't.

    Args:
      source: The training split.
      seed: The seed of the order.
    """
    if block_starts(source) is None:
        return ""
    count = min(_MIXED_IMAGES, len(source))
    order, rng = endless(source, seed), np.random.default_rng(seed)
    random = rng.choice(len(source), count, replace=False)
    of_order = len({source.label(int(order[place])) for place in range(count)})
    of_random = len({source.label(int(index)) for index in random})
    if 2 * of_order > of_random:
        return ""
    return (
        f"Batches are poorly mixed: {count} images have {of_order} classes, where {of_random} are "
        "usual, because the training images are stored sorted by class, in row groups that are "
        "read as a whole. Write them in random order."
    )
