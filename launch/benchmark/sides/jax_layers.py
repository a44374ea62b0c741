"""Each convolution of a net by itself: the forward pass, and both gradients."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from launch.benchmark import arithmetic
from launch.benchmark.case import Case
from launch.benchmark.sides import process
from vgg_jax.nets import compiler_options, layers, sharding


def measure(case: dict[str, Any], timing: dict[str, Any], calls: int) -> dict[str, Any]:
    """Times each convolution on random values.

    Args:
      case: The fields of a `Case`.
      timing: See `process.timed`.
      calls: Calls between two waits for the device, so that the time to start one doesn't count.

    Returns:
      {layer: {pass: seconds of one call}}, with the passes of `arithmetic.PASSES`.
    """
    case, result = Case(**case), {}
    options = compiler_options.for_mesh(sharding.make_mesh(jax.devices()[:1]), "training")
    for layer, side in arithmetic.convolutions(case):
        keys = jax.random.split(jax.random.key(0), 3)
        shapes = (
            (case.batch, side, side, layer.features_in),
            (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features),
            (case.batch, side, side, layer.features),
        )
        arrays = [jax.random.normal(*each, case.dtype) for each in zip(keys, shapes, strict=True)]
        result[layer.name] = {
            name: _seconds(jax.jit(PASSES[name], compiler_options=options), arrays, timing, calls)
            for name in arithmetic.passes(layer)
        }
    return result


def _seconds(
    function: Callable[..., Array], arrays: list[Array], timing: dict[str, Any], calls: int
) -> list[float]:
    def call() -> None:
        for _ in range(calls):
            result = function(*arrays)
        result.block_until_ready()

    _, seconds = process.timed(call, **timing)
    return [each / calls for each in seconds]


def _forward(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], g: Float[Array, "b h w o"]
) -> Float[Array, "b h w o"]:
    del g
    # This is how training computes it: see `winograd.conv`.
    return jax.vjp(lambda x: layers.conv(x, kernel, "SAME"), x)[0]


def _input_gradient(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], g: Float[Array, "b h w o"]
) -> Float[Array, "b h w i"]:
    return jax.vjp(lambda x: layers.conv(x, kernel, "SAME"), x)[1](g)[0]


def _kernel_gradient(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], g: Float[Array, "b h w o"]
) -> Float[Array, "k k i o"]:
    return jax.vjp(lambda kernel: layers.conv(x, kernel, "SAME"), kernel)[1](g)[0]


PASSES = {
    "forward": _forward,
    "gradient of x": _input_gradient,
    "gradient of the kernel": _kernel_gradient,
}

if __name__ == "__main__":
    process.run(measure, without=("torch",))
