"""A pass of a net over images with one method at one scale (§3.2), in batches of mixed sizes."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Int32
from PIL import Image

from vgg_jax.data import images
from vgg_jax.evaluation import size_buckets
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.method import Method
from vgg_jax.nets import sharding
from vgg_jax.nets.sharding import STEPS_IN_FLIGHT

# The pixels of a batch on each device. On CPUs, multi-crop took 1.45 times as long with 2^22 (net
# A, width 1/4, two cores). On an H200, D in bfloat16 evaluated 1,815 images/s densely with 2^22,
# 1,915 with 2^23, for which it takes 2 GB, and 1,964 with 2^24.
BATCH_PX = {"cpu": 2**19}
BATCH_PX_OF_OTHERS = 2**23


class ImagePass:
    """A pass over images, whose batches are planned before it runs.

    Attributes:
      plan: The batches of the pass.
    """

    def __init__(
        self,
        inference: Inference,
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: Method,
        scale: int,
        batch_px: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Plans the batches of a pass.

        Args:
          inference: The net.
          load_image: Takes an index and returns the image; picklable if there are workers.
          sizes: Height and width of each image in px, before rescaling.
          method: Computes the values of a batch of images, for example posteriors.
          scale: The test scale Q, in px.
          batch_px: Pixels of a batch on each device, including flips, crops and padding; 0 for the
            default of the kind of device. A batch has at least one image per device.
          num_workers: Number of processes that decode; 0 for threads of this process.

        Raises:
          UserError: An image is too long and narrow.
        """
        self._inference, self._load_image = inference, load_image
        self._method, self._scale, self._num_workers = method, scale, num_workers
        devices = inference.mesh.size
        kind = inference.mesh.devices.flat[0].platform
        batch_px = batch_px or BATCH_PX.get(kind, BATCH_PX_OF_OTHERS)

        def most_places(height: int, width: int) -> int:
            image_px = self._method.image_px(height, width, inference.model.crop_px)
            fit = max(1, batch_px // image_px) * devices
            return min(fit, -(-len(sizes) // devices) * devices)

        self.plan = size_buckets.plan(
            _rescaled_sizes(load_image, sizes, scale),
            most_places,
            multiple=devices,
            even=self._method.fills_evenly,
        )

    def run(
        self, done: Bool[np.ndarray, " n"] | None = None
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]]:
        """Computes the values of one batch after the other.

        Args:
          done: Whether each image is done already; None if none is. A batch is left out if all its
            images are done, and is otherwise computed whole.

        Yields:
          The indices of a batch's images, and their rows of values.
        """
        # Grain takes a while to import, and score maps of single images don't need it.
        from vgg_jax.data.prefetch import Shard
        from vgg_jax.evaluation.batches import image_batches

        plan = self.plan if done is None else self.plan.without(done)
        batches = image_batches(
            self._load_image,
            plan.batches,
            scale=self._scale,
            shard=Shard(jax.process_index(), jax.process_count()),
            num_workers=self._num_workers if plan.batches else 0,
        )
        waiting: collections.deque[tuple[size_buckets.PlannedBatch, jax.Array]] = (
            collections.deque()
        )
        with contextlib.closing(batches):
            for planned in plan.batches:
                waiting.append((planned, self._compute(next(batches))))
                if len(waiting) > STEPS_IN_FLIGHT:
                    yield self._of_images(*waiting.popleft())
        while waiting:
            yield self._of_images(*waiting.popleft())

    def _compute(self, padded: Mapping[str, np.ndarray]) -> jax.Array:
        batch = sharding.put_batch(padded, sharding.split_batch(self._inference.mesh))
        return self._method.compute(self._inference, batch["image"], batch["size"])

    def _of_images(
        self, planned: size_buckets.PlannedBatch, values: jax.Array
    ) -> tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]:
        places = planned.indices >= 0
        return planned.indices[places], np.asarray(values)[places]


def _rescaled_sizes(
    load_image: Callable[[int], Image.Image], sizes: Int32[np.ndarray, "n 2"], scale: int
) -> Int32[np.ndarray, "n 2"]:
    """Returns the height and width of each image after it is rescaled to Q.

    Raises:
      UserError: See `images.refuse_large_rescaled`.
    """
    rescaled = []
    for index, (height, width) in enumerate(sizes.tolist()):
        size = images.rescaled_size((width, height), scale)
        if size[0] * size[1] > images.MAX_RESCALED_PX:
            named = getattr(load_image, "name", lambda i: f"Image {i:,}")
            images.refuse_large_rescaled((width, height), scale, named(index))
        rescaled.append(size[::-1])
    return np.array(rescaled, np.int32).reshape(-1, 2)
