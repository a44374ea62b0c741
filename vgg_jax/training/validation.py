"""The errors on the validation split."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from vgg_jax.nets.sharding import STEPS_IN_FLIGHT


@dataclasses.dataclass(frozen=True)
class ValResult:
    """The errors over a whole split.

    Attributes:
      top1_error, top5_error: In percent.
      loss: Mean cross entropy.
      num_images: The number of images in the split.
    """

    top1_error: float
    top5_error: float
    loss: float
    num_images: int


def validate(
    batch_metrics: Callable[[Mapping[str, np.ndarray]], Mapping[str, jax.Array]],
    batches: Iterator[Mapping[str, np.ndarray]],
    *,
    num_batches: int,
    num_images: int,
    stop: object = False,
) -> ValResult | None:
    """Runs one pass over the centre crops of a split.

    Args:
      batch_metrics: The function of `step.make_val_step`, with its parameters already given.
      batches: See `crops.val_batches`.
      num_batches: Batches in the pass.
      num_images: Images in the split; each must be counted once.
      stop: If this is true before a batch, the pass ends.

    Returns:
      The errors, or None if `stop` became true during the pass.
    """
    sums = []
    for _ in range(num_batches):
        if stop:
            return None
        sums.append(batch_metrics(next(batches)))
        if len(sums) > STEPS_IN_FLIGHT:
            jax.block_until_ready(sums[-1 - STEPS_IN_FLIGHT])
    totals = {
        name: float(np.sum([value[name] for value in jax.device_get(sums)], dtype=np.float64))
        for name in sums[0]
    }
    assert totals["count"] == num_images, f"{totals['count']:.0f} images, not {num_images}"
    return ValResult(
        top1_error=100.0 * totals["top1"] / num_images,
        top5_error=100.0 * totals["top5"] / num_images,
        loss=totals["loss"] / num_images,
        num_images=num_images,
    )
