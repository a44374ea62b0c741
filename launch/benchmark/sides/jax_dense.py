"""This code's dense evaluation: batches of mixed sizes, padded."""

import collections
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from launch.benchmark import photos
from launch.benchmark.case import Case
from launch.benchmark.sides import jax_step, process
from vgg_jax.data.prefetch import Shard
from vgg_jax.evaluation.batches import PaddedBatch, image_batches
from vgg_jax.evaluation.methods import dense
from vgg_jax.evaluation.posterior_pass import PosteriorPass
from vgg_jax.nets import sharding


def measure(
    case: dict[str, Any], images: dict[str, Any], timing: dict[str, Any], out: str
) -> dict[str, Any]:
    """Times passes over all images.

    Args:
      case: The fields of a `Case`.
      images: The arguments of `photos.photos`.
      timing: See `process.timed`.
      out: The .npy file for the posteriors.

    Returns:
      The seconds of each pass, and "batches_s" and "net_s", those of a pass's two parts by
      themselves: making the batches on the host, and the net with all batches on the device.
    """
    found = photos.photos(**images)
    inference = jax_step.untrained(Case(**case))
    one_pass = PosteriorPass(
        inference,
        found.__getitem__,
        np.array([(image.height, image.width) for image in found], np.int32),
        method="dense",
        scale=images["scale"],
    )
    values: list[np.ndarray] = []

    def run() -> None:
        indices, posteriors = zip(*one_pass.run(), strict=True)
        values[:] = [np.concatenate(posteriors)[np.argsort(np.concatenate(indices))]]

    warm_up_s, seconds = process.timed(run, **timing)
    np.save(out, values[0])

    def made() -> Iterator[PaddedBatch]:
        return image_batches(
            found.__getitem__,
            one_pass.plan.batches,
            scale=images["scale"],
            shard=Shard(),
            num_workers=0,
        )

    _, batches_s = process.timed(lambda: collections.deque(made(), maxlen=0), **timing)
    place = sharding.split_batch(inference.mesh)
    on_device = [sharding.put_batch(batch, place) for batch in made()]

    def compute() -> None:
        each = (dense.METHOD.compute(inference, b["image"], b["size"]) for b in on_device)
        jax.block_until_ready(list(each))

    _, net_s = process.timed(compute, **timing)
    return {
        "seconds": seconds,
        "batches_s": batches_s,
        "net_s": net_s,
        "warm_up_s": warm_up_s,
        "shapes": len(one_pass.plan.shapes),
        "padding": one_pass.plan.waste,
    }


if __name__ == "__main__":
    process.run(measure, without=("torch",))
