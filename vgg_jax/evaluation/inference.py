"""A net on its devices, and the programs that were compiled to apply it."""

import dataclasses
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG, Params

PaddedImages = UInt8[Array, "b h w 3"]
SizesPx = Int[Array, "b 2"]  # The height and width of each image within its place.


class _Program(NamedTuple):
    run: jax.stages.Compiled
    compile_s: float


@dataclasses.dataclass(frozen=True)
class Inference:
    """A net on its devices, ready to be applied to RGB images of 0-255.

    Attributes:
      model: The net.
      params: Its parameters, on every device of the mesh.
      mesh: The devices.
      normalise: Takes RGB of 0-255 to what the net was trained on.
      programs: What was compiled, by function, settings and shapes.
    """

    model: VGG
    params: Params
    mesh: jax.sharding.Mesh
    normalise: Normalise
    programs: dict[Hashable, _Program] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def call(
        self,
        function: Callable[..., Any],
        *arrays: jax.Array | np.ndarray,
        split: bool = False,
        **settings: Hashable,
    ) -> Any:
        """Computes function(inference, *arrays, **settings) on all devices.

        Args:
          function: A pure function of a module, which is compiled once for each shape and setting.
          arrays: Images and whatever else it is computed from, of which those of one function and
            shape always lie at the same place, on the host or on the mesh.
          split: Whether the first axis of what it returns is divided over the devices; otherwise
            each has a copy.
          settings: Constants of the program.

        Returns:
          What the function returns, perhaps before it is computed.
        """
        key = (function, split, *settings.items(), *(array.shape for array in arrays))
        if key not in self.programs:
            begin_s = time.monotonic()
            out = sharding.split_batch(self.mesh) if split else sharding.replicated(self.mesh)

            def program(params: Params, *arrays: jax.Array) -> Any:
                # The parameters are an argument: as constants they would be part of the program.
                return function(dataclasses.replace(self, params=params), *arrays, **settings)

            with jax.default_matmul_precision(self.precision):
                lowered = jax.jit(program, out_shardings=out).lower(self.params, *arrays)
            self.programs[key] = _Program(lowered.compile(), time.monotonic() - begin_s)
        return self.programs[key].run(self.params, *arrays)

    @property
    def compile_s(self) -> float:
        """Seconds that the compilation of the programs took."""
        return sum((program.compile_s for program in self.programs.values()), 0.0)

    @property
    def precision(self) -> str:
        """The precision of products: devices otherwise round float32 to fewer bits."""
        return "highest" if self.model.dtype == jnp.float32 else "default"

    def score_maps(
        self, images: PaddedImages, sizes: SizesPx | None = None
    ) -> Float[Array, "b h2 w2 k"]:
        """Applies the fully convolutional net (§3.2).

        Args:
          images: RGB, 0-255, at least the crop's size.
          sizes: What is image of each, px, from the upper left corner; None for all of it.

        Returns:
          Unnormalised class scores, of which `VGG.score_cells` are valid.
        """
        # The net masks after the mean is subtracted: padding is then zero to the first convolution.
        return self.model.apply({"params": self.params}, self.normalise(images), sizes=sizes)
