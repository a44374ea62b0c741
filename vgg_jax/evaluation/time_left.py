"""An estimate of how long an evaluation still takes, from the batches that it has computed.

The batches of a pass differ in their images' sizes, and the passes in their crops. So the estimate
counts the pixels that the net is applied to, not images.
"""

import collections
import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from vgg_jax.data import images
from vgg_jax.evaluation import methods, size_buckets
from vgg_jax.evaluation.inference import Inference


def whole_px(inference: Inference, method: str, scale: int, sizes: Int32[np.ndarray, "n 2"]) -> int:
    """Returns the pixels that a pass applies the net to, with flips and crops, without padding.

    Args:
      inference: The net.
      method: The name of a single method.
      scale: The test scale Q, in px.
      sizes: Height and width of each image in px, before rescaling.
    """
    image_px, crop_px = methods.single(method).image_px, inference.model.crop_px
    rescaled = (images.rescaled_size((width, height), scale) for height, width in sizes.tolist())
    return sum(image_px(height, width, crop_px) for width, height in rescaled)


class TimeLeft:
    """The time that a pass and those after it still take, at the speed of this pass until now.

    Compiling counts neither in the speed nor in the estimate.
    """

    def __init__(
        self,
        inference: Inference,
        method: str,
        batches: Sequence[size_buckets.PlannedBatch],
        later_px: int,
    ) -> None:
        """Begins to measure.

        Args:
          inference: The net, which knows how long it has compiled.
          method: The name of the pass's single method.
          batches: The batches that the pass computes, in order.
          later_px: The pixels of all passes after this one.
        """
        image_px, crop_px = methods.single(method).image_px, inference.model.crop_px
        self._left_px = collections.deque(
            len(batch.indices) * image_px(batch.height, batch.width, crop_px) for batch in batches
        )
        self._inference, self._later_px = inference, later_px
        self._is_first = True
        self._begin_clock()

    def _begin_clock(self) -> None:
        self._done_px, self._begin_s = 0, time.monotonic()
        self._compiled_before_s = self._inference.compile_s

    @property
    def compile_s(self) -> float:
        """The seconds that were compiled since the clock began: by the pass, or after one batch."""
        return self._inference.compile_s - self._compiled_before_s

    def after_batch(self) -> tuple[float, float]:
        """Counts a batch as computed; returns the seconds that are left, of the pass and in all."""
        self._done_px += self._left_px.popleft()
        computed_s = max(0.0, time.monotonic() - self._begin_s - self.compile_s)
        s_per_px, pass_px = computed_s / self._done_px, sum(self._left_px)
        if self._is_first:  # It waited for the first images, which no later one does.
            self._is_first = False
            self._begin_clock()
        return pass_px * s_per_px, (pass_px + self._later_px) * s_per_px
