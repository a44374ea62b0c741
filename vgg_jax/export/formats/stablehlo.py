"""StableHLO programs that need only JAX: `jax.export.deserialize(data).call(images)`.

The program takes float32 RGB of 0-255, (b, h, w, 3), of any batch size, height and width of at
least the net's crop, on CPUs, GPUs and TPUs. The file includes the parameters.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vgg_jax.evaluation import differentiable
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export.format import Format, refuse_without_fc_layers
from vgg_jax.export.options import Options

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(net: TrainedNet, path: pathlib.Path, options: Options) -> None:
    """Writes the program as `jax.export` serialises it."""
    crop_px = net.model.crop_px
    shape = jax.export.symbolic_shape(
        "b, h, w, 3", constraints=[f"h >= {crop_px}", f"w >= {crop_px}"]
    )
    # Parameters on a mesh would bind the program to as many devices.
    params = jax.tree.map(np.asarray, net.params)
    names = [options.feature]

    def program(images: Array) -> Array:
        inference = dataclasses.replace(net.inference, params=jax.tree.map(jnp.asarray, params))
        return differentiable.features(inference, images, names)[options.feature]

    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    path.write_bytes(exported.serialize())


# JAX serialises programs with flatbuffers, which it doesn't install.
FORMAT = Format(
    ".stablehlo", refuse_without_fc_layers, write, options=("output",), package="flatbuffers"
)
