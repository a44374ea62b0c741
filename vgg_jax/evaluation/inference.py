"""One pass of a net over images: one method, one scale (§3.2), in batches of mixed sizes."""

import collections
import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Int32
from PIL import Image

from vgg_jax.data import images
from vgg_jax.data.prefetch import Shard
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods, size_buckets
from vgg_jax.evaluation.batches import image_batches
from vgg_jax.nets import sharding
from vgg_jax.nets.sharding import STEPS_IN_FLIGHT

if TYPE_CHECKING:
    from vgg_jax.evaluation.trained_net import TrainedNet

# On CPUs multi-crop took 1.45 times as long with 2^22 (net A, width 1/4, two cores).
BATCH_PX = {"cpu": 2**19}

MAX_PX = 2**24  # Of a rescaled image: at Q = 512 it may be 64 times as long as wide.

SingleMethod = Literal["dense", "multicrop"]


class Pass:
    """A pass, planned.

    Attributes:
      plan: Its batches.
      compile_s: Seconds that went into compilation so far.
    """

    def __init__(
        self,
        net: "TrainedNet",
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: SingleMethod,
        scale: int,
        batch_px: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Plans a pass.

        Args:
          net: The net.
          load_image: From an image's index to the image; picklable where there are workers.
          sizes: Height and width of each image, px, before rescaling.
          method: "dense" or "multicrop".
          scale: Q, px.
          batch_px: Pixels of a batch on each device, flips, crops and padding included; 0 for what
            suits the kind of device. A batch has one image a device at least.
          num_workers: Processes that decode.

        Raises:
          UserError: An image is too long and narrow.
        """
        self._net, self._load_image = net, load_image
        self._method, self._scale, self._num_workers = method, scale, num_workers
        self._split, self._copied = sharding.split_batch(net.mesh), sharding.replicated(net.mesh)
        self.compile_s = 0.0
        devices = net.mesh.size
        batch_px = batch_px or BATCH_PX.get(net.mesh.devices.flat[0].platform, 2**22)
        crops_px = methods.CROPS * net.model.crop_px**2

        def most_places(height: int, width: int) -> int:
            pixels = 2 * height * width if method == "dense" else crops_px
            fit = max(1, batch_px // pixels) * devices
            return min(fit, -(-len(sizes) // devices) * devices)

        rescaled = [images.rescaled_size((int(w), int(h)), scale)[::-1] for h, w in sizes]
        for index, (height, width) in enumerate(rescaled):
            if height * width > MAX_PX:
                raise UserError(
                    f"Image {index:,}, of {sizes[index, 1]} x {sizes[index, 0]} px, would become "
                    f"{width} x {height} px at Q = {scale}: too many. Leave it out, or crop it."
                )
        self.plan = size_buckets.plan(
            np.array(rescaled, np.int32).reshape(-1, 2),
            most_places,
            multiple=devices,
            even=method == "dense",
        )
        placed = np.concatenate([batch.indices for batch in self.plan.batches] or [np.zeros(0)])
        if not np.array_equal(np.sort(placed[placed >= 0]), np.arange(len(sizes))):
            raise RuntimeError("Not every image is once in the plan. This is a bug; report it.")

    def run(
        self, done: Bool[np.ndarray, " n"] | None = None
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]]:
        """Computes batch after batch.

        Args:
          done: Of each image, whether it may be left out; batches with others are computed whole.

        Yields:
          The images' indices, and their posteriors.
        """
        plan = self.plan if done is None else self.plan.without(done)
        shard = Shard(jax.process_index(), jax.process_count())
        batches = image_batches(
            self._load_image,
            plan.batches,
            scale=self._scale,
            shard=shard,
            num_workers=self._num_workers if plan.batches else 0,
        )
        waiting: collections.deque[tuple[size_buckets.Batch, jax.Array]] = collections.deque()
        try:
            with contextlib.closing(batches):
                for batch in plan.batches:
                    waiting.append(
                        (batch, self._compute(sharding.put_batch(next(batches), self._split)))
                    )
                    if len(waiting) > STEPS_IN_FLIGHT:
                        yield _values(*waiting.popleft())
            while waiting:
                yield _values(*waiting.popleft())
        finally:
            # On CPUs JAX reads the workers' shared memory in place, and lets go of it when Python
            # collects garbage: at exit it would be reported as leaked.
            waiting.clear()
            if self._num_workers:
                gc.collect()

    def _compute(self, batch: dict[str, jax.Array]) -> jax.Array:
        net, crop_px = self._net, self._net.model.crop_px
        if self._method == "dense":
            return self._call(
                lambda params, image, size: methods.dense(
                    net.model, params, image, size, net.normalise
                ),
                self._copied,
                net.params,
                batch["image"],
                batch["size"],
            )
        # Two programs: the net's is the same whatever the images' size.
        crops = self._call(
            lambda image, size: methods.cut_crops(image, size, crop_px),
            self._split,
            batch["image"],
            batch["size"],
        )
        return self._call(
            lambda params, crops: methods.multicrop(net.model, params, crops, net.normalise),
            self._copied,
            net.params,
            crops,
        )

    def _call(
        self, function: Callable[..., jax.Array], out: jax.sharding.Sharding, *arguments: Any
    ) -> jax.Array:
        shapes = tuple(x.shape for x in arguments if isinstance(x, jax.Array))
        key = (self._method, *shapes)
        programs = self._net.programs
        if key not in programs:
            begin_s = time.monotonic()
            with jax.default_matmul_precision(self._net.precision):
                lowered = jax.jit(function, out_shardings=out).lower(*arguments)
            programs[key] = lowered.compile()
            self.compile_s += time.monotonic() - begin_s
        return programs[key](*arguments)


def _values(
    batch: size_buckets.Batch, posteriors: jax.Array
) -> tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]:
    places = batch.indices >= 0
    return batch.indices[places], np.asarray(posteriors)[places]
