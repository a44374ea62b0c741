"""This code's dense evaluation: batches of mixed sizes, padded."""

from typing import Any

import numpy as np

from launch.benchmark import photos
from launch.benchmark.case import Case
from launch.benchmark.sides import jax_step, process
from vgg_jax.evaluation.posterior_pass import PosteriorPass


def measure(
    case: dict[str, Any], images: dict[str, Any], timing: dict[str, Any], out: str
) -> dict[str, Any]:
    """Times passes over all images.

    Args:
      case: The fields of a `Case`.
      images: The arguments of `photos.photos`.
      timing: See `process.timed`.
      out: The .npy file for the posteriors.
    """
    found = photos.photos(**images)
    one_pass = PosteriorPass(
        jax_step.untrained(Case(**case)),
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
    return {
        "seconds": seconds,
        "warm_up_s": warm_up_s,
        "shapes": len(one_pass.plan.shapes),
        "padding": one_pass.plan.waste,
    }


if __name__ == "__main__":
    process.run(measure, without=("torch",))
