"""The same training step and forward pass in PyTorch."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from launch.benchmark.case import Case
from launch.benchmark.sides import process, torch_device, torch_net
from launch.benchmark.sides.torch_net import TorchNet

# The same numbers as in `vgg_jax.nets.pixels`, which imports JAX.
RGB_STANDARD_DEVIATIONS = (0.2175, 0.0188, 0.0045)
RGB_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def measure(
    case: dict[str, Any],
    part: Literal["step", "forward"],
    timing: dict[str, Any],
    platform: str,
    compiled: bool,
) -> dict[str, Any]:
    """Times one case: see `jax_step.measure`.

    Args:
      case, part, timing: See there.
      platform: That of JAX, "cpu" or "gpu".
      compiled: Whether torch.compile compiles the forward and the backward pass.
    """
    case = Case(**case)
    # Evaluation in float32 has the highest precision here too: see `Inference.precision`.
    device = torch_device.prepare(platform, tf32=part == "step")
    call = {"step": training_step, "forward": forward}[part](case, device, compiled)

    def synchronised() -> None:
        call()
        torch_device.wait(device)

    warm_up_s, _ = process.timed(synchronised, **timing | {"at_least": 0, "at_least_s": 0})
    torch_device.forget_peak(device)  # cuDNN's trials are over.
    _, seconds = process.timed(synchronised, **timing | {"warm_up": 0})
    return {
        "seconds": seconds,
        "warm_up_s": warm_up_s,
        "peak_bytes": torch_device.peak_bytes(device),
        "threads": torch.get_num_threads(),
    }


def training_step(
    case: Case, device: torch.device, compiled: bool
) -> Callable[[], tuple[TorchNet, torch.Tensor]]:
    """Returns a function that takes the next step, and returns the net and the loss."""
    net = TorchNet(case, dense=False).to(device, memory_format=torch.channels_last)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": case.l2_penalty},
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=case.learning_rate, momentum=case.momentum, fused=True)
    images, labels = (torch.from_numpy(values).to(device) for values in case.random_batch())
    labels = labels.long()
    components = np.asarray(RGB_EIGENVECTORS) * np.asarray(RGB_STANDARD_DEVIATIONS)
    components = torch.tensor(255.0 * components.T, dtype=torch.float32, device=device)

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shift = None
        if case.colour_shift:
            a = torch.randn(len(images), 3, device=device) * case.colour_shift
            shift = (a[:, :, None] * components).sum(dim=1)
        with torch.autocast(device.type, torch.bfloat16, enabled=case.dtype == "bfloat16"):
            scores = net(images, shift)
        return torch.nn.functional.cross_entropy(scores, labels)

    compute = torch.compile(loss_of) if compiled else loss_of

    def call() -> tuple[TorchNet, torch.Tensor]:
        optimiser.zero_grad(set_to_none=True)
        loss = compute(images, labels)
        loss.backward()
        optimiser.step()
        return net, loss

    return call


def forward(case: Case, device: torch.device, compiled: bool) -> Callable[[], torch.Tensor]:
    """Returns a function that computes the class scores of the batch."""
    net = torch_net.for_inference(case, device, dense=False)
    images = torch.from_numpy(case.random_batch()[0]).to(device)
    compute = torch.compile(net) if compiled else net

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return compute(images)

    return call


if __name__ == "__main__":
    process.run(measure, without=("jax", "flax"))
