"""A net on its devices, and the compiled programs that apply it."""

import dataclasses
import functools
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from vgg_jax.errors import require
from vgg_jax.nets import compiler_options, sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG, Params

PaddedImages = UInt8[Array, "b h w 3"]
SizesPx = Int[Array, "b 2"]  # The height and width of each image within its place.
ParamsOutline = Mapping[str, Mapping[str, jax.ShapeDtypeStruct]]


class _Program(NamedTuple):
    run: jax.stages.Compiled
    compile_s: float


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["model", "mesh", "normalise"],
)
@dataclasses.dataclass(frozen=True)
class Inference:
    """A net on its devices, ready to be applied to RGB images of 0-255.

    It is a pytree, whose leaves are the parameters. A copy that JAX makes of it, for instance by
    `jax.tree.map`, has no compiled programs at first.

    Attributes:
      model: The net.
      params: Its parameters, on every device of the mesh, or descriptions of them.
      mesh: The devices.
      normalise: Converts RGB of 0-255 to the input of the net.
      programs: The compiled programs, by function, settings and shapes.
    """

    model: VGG
    params: Params | ParamsOutline
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
          function: A pure function at the top level of a module. It is compiled once for each
            combination of shapes and settings.
          arrays: Images and other inputs. Arrays of one function and shape must always have the
            same dtype and lie at the same place, on the host or on the mesh.
          split: Whether the first axis of the result is divided over the devices; otherwise each
            device has a copy.
          settings: Constants of the program.

        Returns:
          The result of the function. The devices may still be computing it.
        """
        key = (function, split, *settings.items(), *(array.shape for array in arrays))
        if key not in self.programs:
            begin_s = time.monotonic()
            out = sharding.split_batch(self.mesh) if split else sharding.replicated(self.mesh)

            def program(params: Params, *arrays: jax.Array) -> Any:
                # The parameters are an argument, because constants become part of the program.
                return function(dataclasses.replace(self, params=params), *arrays, **settings)

            with jax.default_matmul_precision(self.precision):
                lowered = jax.jit(program, out_shardings=out).lower(self.params, *arrays)
            compiled = lowered.compile(compiler_options.for_mesh(self.mesh, "inference"))
            self.programs[key] = _Program(compiled, time.monotonic() - begin_s)
        return self.programs[key].run(self.params, *arrays)

    def require_fc_layers(self) -> None:
        """Checks that the net has FC layers, which an imported net may lack.

        Raises:
          UserError: It has none.
        """
        require(
            "fc8" in self.params,
            f"This net {self.model.net} was imported without FC layers. It has features up to "
            "pool5, but no class scores. To train it with new FC layers, start a run from it: "
            "--config.init_from=WORKDIR --config.init_layers=all_but_fc8.",
        )

    @property
    def compile_s(self) -> float:
        """The seconds that it took to compile the programs."""
        return sum((program.compile_s for program in self.programs.values()), 0.0)

    @property
    def precision(self) -> str:
        """The precision of matrix products. By default, devices may round float32 to fewer bits."""
        return "highest" if self.model.dtype == jnp.float32 else "default"

    def score_maps(
        self, images: PaddedImages, sizes: SizesPx | None = None
    ) -> Float[Array, "b h2 w2 k"]:
        """Applies the fully convolutional net (§3.2).

        Args:
          images: RGB, 0-255, at least as large as the crop.
          sizes: The height and width of the valid part of each image, in px, which begins in the
            upper left corner; None if all of it is valid.

        Returns:
          Unnormalised class score maps. `VGG.score_cells` says how large their valid parts are.
        """
        # The net masks its input after the mean is subtracted, so padding is zero for conv1_1.
        return self.model.apply({"params": self.params}, self.normalise(images), sizes=sizes)

    def feature_maps(
        self, images: PaddedImages, name: str, sizes: SizesPx
    ) -> Float32[Array, "b h2 w2 c"]:
        """Computes a named feature: see `VGG.features`.

        Args:
          images: RGB, 0-255, at least `VGG.least_px` on both sides.
          name: A name of `VGG.features`, except for prob.
          sizes: See `score_maps`.

        Returns:
          The feature. `VGG.feature_cells` says how large the valid part of each map is.
        """
        maps = self.model.apply(
            {"params": self.params}, self.normalise(images), [name], sizes, method="features"
        )
        return maps[name]
