"""The arithmetic and the bytes of a net's kernels, counted from the architecture."""

from typing import Literal

from launch.benchmark.case import Case
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Layer

Part = Literal["step", "forward"]
PASSES = ("forward", "gradient of x", "gradient of the kernel")


def flops_per_image(case: Case, part: Part) -> int:
    """Counts the additions and multiplications for one crop.

    Each gradient takes as many as the forward pass. The first layer needs none of its input.
    """
    costs = architectures.costs(case.layers, case.crop_px)
    forward = 2 * sum(cost.multiply_adds for cost in costs)
    return forward if part == "forward" else 3 * forward - 2 * costs[0].multiply_adds


def dense_flops(case: Case, height: int, width: int) -> int:
    """Counts the additions and multiplications for a whole image and its flip."""
    flops = 0
    for layer in case.layers:
        height, width = layer.output_px(height), layer.output_px(width)
        flops += 2 * height * width * layer.num_weights
    return 2 * flops


def convolutions(case: Case) -> list[tuple[Layer, int]]:
    """Lists a net's convolutions, each with the side of its input in cells."""
    costs = architectures.costs(case.layers, case.crop_px)
    return [(cost.layer, cost.output_px) for cost in costs if cost.layer.kind == "conv"]


def passes(layer: Layer) -> tuple[str, ...]:
    """Returns the passes of a convolution in a training step."""
    return PASSES if layer.name != "conv1_1" else (PASSES[0], PASSES[2])


def pass_flops(case: Case, layer: Layer, side: int) -> int:
    """Counts the additions and multiplications of any pass of a convolution for a batch."""
    return 2 * case.batch * side**2 * layer.num_weights


def pass_bytes(case: Case, layer: Layer, side: int) -> int:
    """Counts the bytes of a convolution's input, kernel and output, one of which is written."""
    values = case.batch * side**2 * (layer.features_in + layer.features) + layer.num_weights
    return values * (2 if case.dtype == "bfloat16" else 4)
