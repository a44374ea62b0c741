"""Each convolution by itself in PyTorch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from launch.benchmark import arithmetic
from launch.benchmark.case import Case
from launch.benchmark.sides import process, torch_device


def measure(
    case: dict[str, Any], timing: dict[str, Any], calls: int, platform: str
) -> dict[str, Any]:
    """Times each convolution on random values: see `jax_layers.measure`."""
    case, result = Case(**case), {}
    device = torch_device.prepare(platform, tf32=True)
    make = {"dtype": getattr(torch, case.dtype), "device": device}
    for layer, side in arithmetic.convolutions(case):
        shapes = (
            (case.batch, layer.features_in, side, side),
            (layer.features, layer.features_in, layer.kernel_px, layer.kernel_px),
            (case.batch, layer.features, side, side),
        )
        x, kernel, g = (
            torch.randn(shape, **make).to(memory_format=torch.channels_last) for shape in shapes
        )
        result[layer.name] = {
            name: _seconds(PASSES[name], (x, kernel, g), device, timing, calls)
            for name in arithmetic.passes(layer)
        }
    return result


@torch.inference_mode()
def _seconds(
    function: Callable[..., object],
    tensors: Sequence[torch.Tensor],
    device: torch.device,
    timing: dict[str, Any],
    calls: int,
) -> list[float]:
    def call() -> None:
        for _ in range(calls):
            function(*tensors)
        torch_device.wait(device)

    _, seconds = process.timed(call, **timing)
    return [each / calls for each in seconds]


def _forward(x: torch.Tensor, kernel: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    del g
    return torch.nn.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


def _gradient(
    x: torch.Tensor, kernel: torch.Tensor, g: torch.Tensor, *, of_x: bool
) -> torch.Tensor | None:
    padding = kernel.shape[-1] // 2
    of_each = torch.ops.aten.convolution_backward(
        *(g, x, kernel, None, (1, 1), (padding, padding), (1, 1), False, (0, 0), 1),
        (of_x, not of_x, False),
    )
    return of_each[0 if of_x else 1]


PASSES = {
    "forward": _forward,
    "gradient of x": functools.partial(_gradient, of_x=True),
    "gradient of the kernel": functools.partial(_gradient, of_x=False),
}

if __name__ == "__main__":
    process.run(measure, without=("jax", "flax"))
