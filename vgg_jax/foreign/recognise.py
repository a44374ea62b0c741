"""Recognises a net of Table 1 by the shapes of its kernels."""

import dataclasses
from collections.abc import Sequence

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures

KernelShape = tuple[int, int, int, int]  # Height, width, inputs and outputs.


@dataclasses.dataclass(frozen=True)
class Recognised:
    """A net of Table 1 that has kernels of the given shapes.

    Attributes:
      nets: The nets of `architectures.NETS` with these shapes. A and A-LRN have the same.
      width: The factor on the number of channels with which `architectures.layers` gives them.
      crop_px: The side of the training crop, which FC6 covers; None without FC layers.
      num_classes: The outputs of FC8; None without FC layers.
      names: The layers' names in the order of the shapes: conv1_1 to fc8.
    """

    nets: tuple[str, ...]
    width: float
    crop_px: int | None
    num_classes: int | None
    names: tuple[str, ...]


def net_of(
    convolutions: Sequence[KernelShape], fully_connected: Sequence[KernelShape]
) -> Recognised:
    """Recognises a net.

    Args:
      convolutions: The shapes of the convolutions' kernels, from the first to the last.
      fully_connected: The shapes of FC6, FC7 and FC8 as convolutions; empty if the net has none.

    Raises:
      UserError: No net has these shapes; the message names the first layer that doesn't fit.
    """
    nets = _nets_with_kernels(convolutions)
    if len(fully_connected) not in (0, 3):
        raise UserError(
            f"These weights have {len(fully_connected)} FC layers. A net of Table 1 has three, or "
            "none if its file leaves them out."
        )
    num_classes = fully_connected[-1][3] if fully_connected else None
    cells = fully_connected[0][0] if fully_connected else None
    width = _width(nets[0], [shape[3] for shape in (*convolutions, *fully_connected[:-1])])
    layers = [
        layer
        for layer in architectures.layers(
            nets[0],
            num_classes=num_classes or 1,
            width=width,
            crop_px=architectures.CELL_PX * (cells or 1),
        )
        if layer.num_weights
    ]
    found = (*convolutions, *fully_connected)
    for layer, shape in zip(layers, found, strict=False):
        fitting = (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features)
        if shape != fitting:
            raise UserError(
                f"These weights are of no net of Table 1: {layer.name} has a kernel of "
                f"{_by(shape)} (height, width, inputs, outputs) instead of the {_by(fitting)} of "
                f"net {' or '.join(nets)} at width {width:g}."
            )
    return Recognised(
        nets=nets,
        width=width,
        crop_px=cells and cells * architectures.CELL_PX,
        num_classes=num_classes,
        names=tuple(layer.name for layer in layers[: len(found)]),
    )


def _nets_with_kernels(convolutions: Sequence[KernelShape]) -> tuple[str, ...]:
    """Returns the nets whose convolutions have kernels of these sizes, in this order."""
    sizes = [shape[:2] for shape in convolutions]
    nets = tuple(
        net
        for net, blocks in architectures.BLOCKS.items()
        if sizes == [(side, side) for block in blocks for side in block]
    )
    if not nets:
        counts = (
            f"{net} has {sum(map(len, blocks))}" for net, blocks in architectures.BLOCKS.items()
        )
        raise UserError(
            f"These weights are of no net of Table 1: their {len(sizes)} convolutions have kernels "
            f"of {', '.join(map(_by, sizes))} px. Net {', '.join(counts)} convolutions."
        )
    return nets


def _width(net: str, outputs: Sequence[int]) -> float:
    """Finds a width with which the layers have these numbers of outputs.

    Args:
      net: One of `architectures.NETS`.
      outputs: The outputs of the convolutions, and of FC6 and FC7 if the net has FC layers.

    Returns:
      The width, or the first layer's if no width suits all.
    """
    blocks = zip(architectures.BLOCKS[net], architectures.BLOCK_WIDTHS, strict=True)
    full = [width for block, width in blocks for _ in block] + [*architectures.FC_WIDTHS]
    pairs = [*zip(outputs, full, strict=False)]
    # Outputs are rounded, so each layer allows a range of widths. One output is the least.
    low = max((count - 0.5) / most if count > 1 else 0.0 for count, most in pairs)
    high = min((count + 0.5) / most for count, most in pairs)
    exact = pairs[-1][0] / pairs[-1][1]
    if low < exact < high:
        return exact
    return (low + high) / 2 if low < high else max(outputs[0], 1) / full[0]


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
