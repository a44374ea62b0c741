"""The nets of Table 1 in PyTorch, fully convolutional or with matrix products for FC layers."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from launch.benchmark.case import Case
from vgg_jax.nets.architectures import Layer


class TorchNet(nn.Module):
    """A net that takes uint8 RGB images (b, h, w, 3) and returns class scores (b, classes).

    Scores of a map are averaged over its cells, as in dense evaluation.
    """

    def __init__(self, case: Case, *, dense: bool) -> None:
        """Makes the net with the case's parameters.

        Args:
          case: The net, and the mean and the scale of its input.
          dense: Whether the FC layers are convolutions; otherwise images have the crop's size.
        """
        super().__init__()
        self.body = nn.Sequential(*_modules(case.layers, dense, case.dropout))
        mean = torch.tensor(case.mean_rgb, dtype=torch.float32)
        self.register_buffer("mean_rgb", mean[None, :, None, None])
        self.input_scale = case.input_scale
        _load(self.body, case.params().values())

    def forward(self, images: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Computes class scores.

        Args:
          images: uint8 RGB (b, h, w, 3), which as (b, 3, h, w) is in the format channels_last.
          shift: What is added to the RGB of each image, (b, 3).
        """
        x = images.permute(0, 3, 1, 2).float()
        if shift is not None:
            x = x + shift[:, :, None, None]
        x = (x - self.mean_rgb) * self.input_scale
        scores = self.body(x.to(self.body[0].weight.dtype)).float()
        return scores.mean(dim=(2, 3)) if scores.ndim == 4 else scores


def for_inference(case: Case, device: torch.device, *, dense: bool) -> TorchNet:
    """Returns the net without dropout, whose parameters have the dtype of the arithmetic."""
    net = TorchNet(case, dense=dense).to(device, memory_format=torch.channels_last).eval()
    # Autocast would convert the parameters again for each batch.
    net.body.to(getattr(torch, case.dtype))
    return net


def _modules(layers: Iterable[Layer], dense: bool, dropout: float) -> Iterable[nn.Module]:
    for layer in layers:
        if layer.kind == "pool":
            yield nn.MaxPool2d(2)
        elif layer.kind == "lrn":
            yield nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # alpha is divided by 5.
        elif layer.kind == "conv" or dense:
            padding = layer.kernel_px // 2 if layer.kind == "conv" else 0
            yield nn.Conv2d(layer.features_in, layer.features, layer.kernel_px, padding=padding)
        else:
            if layer.name == "fc6":
                yield nn.Flatten()
            yield nn.Linear(layer.kernel_px**2 * layer.features_in, layer.features)
        if layer.kind in ("conv", "fc") and layer.name != "fc8":
            yield nn.ReLU(inplace=True)
        if layer.name in ("fc6", "fc7") and dropout:
            yield nn.Dropout(dropout)


def _load(body: nn.Sequential, params: Iterable[dict[str, np.ndarray]]) -> None:
    """Copies parameters in our layout to the modules that have some, in their order."""
    modules = [module for module in body if hasattr(module, "weight")]
    with torch.no_grad():
        for module, layer in zip(modules, params, strict=True):
            kernel = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1)
            module.weight.copy_(kernel.reshape(module.weight.shape))
            module.bias.copy_(torch.from_numpy(layer["bias"]))
