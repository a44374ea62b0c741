"""Errors on the validation split."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from vgg_jax.nets.sharding import STEPS_IN_FLIGHT


@dataclasses.dataclass(frozen=True)
class ValResult:
    """Errors over a whole split.

    Attributes:
      top1_error, top5_error: Percent.
      loss: Mean cross entropy.
      num_images: How many images they are of.
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
      batch_metrics: `step.make_val_step`'s function with everything but the batch given.
      batches: See `crops.val_batches`.
      num_batches: Batches of the pass.
      num_images: Images of the split; each must be counted once.
      stop: Looked at before each batch.

    Returns:
      The errors, or None where `stop` became true on the way.

    Raises:
      RuntimeError: More or fewer images came than the split has.
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
    if totals["count"] != num_images:
        raise RuntimeError(
            f"The validation pass counted {totals['count']:.0f} images of {num_images}. "
            "This is a bug of the input pipeline; please report it."
        )
    return ValResult(
        top1_error=100.0 * totals["top1"] / num_images,
        top5_error=100.0 * totals["top5"] / num_images,
        loss=totals["loss"] / num_images,
        num_images=num_images,
    )
