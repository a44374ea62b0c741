"""An image pass whose values are posteriors, and checks that they are."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Int32
from PIL import Image

from vgg_jax.errors import require
from vgg_jax.evaluation import methods, size_buckets
from vgg_jax.evaluation.image_pass import ImagePass
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.method import Method


class PosteriorPass:
    """A pass that computes posteriors with one method at one scale (§3.2)."""

    def __init__(
        self,
        inference: Inference,
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: str,
        scale: int,
        batch_px: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Plans the batches of a pass.

        Args:
          method: The name of a single method: see `methods.single`.
          inference, load_image, sizes, scale, batch_px, num_workers: See `ImagePass`.

        Raises:
          UserError: An image is too long and narrow, there is no such method, or the net has no FC
            layers.
        """
        inference.require_fc_layers()
        self._name = method
        self._pass = ImagePass(
            inference,
            load_image,
            sizes,
            method=_with_checked_shape(method),
            scale=scale,
            batch_px=batch_px,
            num_workers=num_workers,
        )

    @property
    def plan(self) -> size_buckets.Plan:
        """The batches of the pass."""
        return self._pass.plan

    def run(
        self, done: Bool[np.ndarray, " n"] | None = None
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]]:
        """Computes the posteriors of one batch after the other.

        Args:
          done: See `ImagePass.run`.

        Yields:
          The indices of a batch's images, and their posteriors.

        Raises:
          UserError: The method returned values that aren't posteriors.
        """
        with contextlib.closing(self._pass.run(done)) as computed:
            for indices, values in computed:
                sums = values.sum(axis=1)
                are_probabilities = np.allclose(sums[np.isfinite(sums)], 1, atol=0.01)
                require(
                    bool(are_probabilities and not (values < 0).any()),
                    f"The evaluation method {self._name} returned values that are negative, or "
                    "don't sum to 1 for an image. Posteriors are probabilities: apply "
                    "jax.nn.softmax to class scores.",
                )
                yield indices, values


def _with_checked_shape(name: str) -> Method:
    """Returns the method of that name, which then checks the shape of each batch's posteriors."""
    method = methods.single(name)

    def compute(inference: Inference, images: jax.Array, sizes: jax.Array) -> jax.Array:
        values = method.compute(inference, images, sizes)
        expected = (len(sizes), inference.model.num_classes)
        require(
            values.shape == expected,
            f"The evaluation method {name} returned posteriors of shape {values.shape}, not "
            f"{expected}, for a batch of images.",
        )
        return values

    return dataclasses.replace(method, compute=compute)
