"""The arithmetic of a training step and of a forward pass, counted from the architecture."""

from typing import Literal

from launch.benchmark.case import Case
from vgg_jax.nets import architectures

Part = Literal["step", "forward"]


def flops_per_image(case: Case, part: Part) -> float:
    """Counts the additions and multiplications of kernels for one crop.

    The gradients of the input and of the kernel take as many as the forward pass each. The first
    layer needs none of its input.
    """
    costs = architectures.costs(case.layers, case.crop_px)
    forward = 2 * sum(cost.multiply_adds for cost in costs)
    return forward if part == "forward" else 3 * forward - 2 * costs[0].multiply_adds


def dense_flops(case: Case, height: int, width: int) -> float:
    """Counts the additions and multiplications of kernels for a whole image and its flip."""
    flops = 0
    for layer in case.layers:
        height, width = layer.output_px(height), layer.output_px(width)
        flops += 2 * height * width * layer.num_weights
    return 2 * flops
