"""An image pass whose values are posteriors, and checks that they are."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32
from PIL import Image

from vgg_jax.errors import require
from vgg_jax.evaluation import methods
from vgg_jax.evaluation.image_pass import ImagePass
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.size_buckets import PlannedBatch


class PosteriorPass(ImagePass):
    """A pass that computes posteriors with one method at one scale (§3.2).

    `run` raises a `UserError` if the method returned values that aren't posteriors.
    """

    def __init__(
        self,
        inference: Inference,
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: str,
        **settings: int,
    ) -> None:
        """Plans the batches of a pass.

        Args:
          inference, load_image, sizes: See `ImagePass`.
          method: The name of a single method: see `methods.single`.
          settings: The scale, and optionally batch_px and num_workers: see `ImagePass`.

        Raises:
          UserError: An image is too long and narrow, there is no such method, or the net has no FC
            layers.
        """
        inference.require_fc_layers()
        super().__init__(inference, load_image, sizes, method=methods.single(method), **settings)
        self._name, self._num_classes = method, inference.model.num_classes

    def _of_images(
        self, planned: PlannedBatch, values: jax.Array
    ) -> tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]:
        expected = (len(planned.indices), self._num_classes)
        require(
            values.shape == expected,
            f"The evaluation method {self._name} returned posteriors of shape {values.shape}, not "
            f"{expected}, for a batch of images.",
        )
        indices, posteriors = super()._of_images(planned, values)
        sums = posteriors.sum(axis=1)
        are_probabilities = np.allclose(sums[np.isfinite(sums)], 1, atol=0.01)
        require(
            bool(are_probabilities and not (posteriors < 0).any()),
            f"The evaluation method {self._name} returned values that are negative, or don't sum "
            "to 1 for an image. Posteriors are probabilities: apply jax.nn.softmax to class "
            "scores.",
        )
        return indices, posteriors
