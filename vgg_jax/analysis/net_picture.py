"""Draws the nets of Table 1 to scale."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from vgg_jax.analysis import text_table
from vgg_jax.analysis.specs import NetSpec
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Cost
from vgg_jax.plots import net_boxes

_COLOURS = {
    "input": ("#c9c9c9", "image"),
    "conv3": ("#5b8fc9", "3x3 convolution + ReLU"),
    "conv1": ("#f2a33a", "1x1 convolution + ReLU"),
    "conv5": ("#7a6bb8", "5x5 convolution + ReLU"),
    "lrn": ("#6ab187", "LRN"),
    "pool": ("#d9694f", "2x2 max-pooling"),
    "fc": ("#3f5f7f", "fully connected"),
}
_PARTS = ("conv3", "fc")  # A bar's parts are the convolutions' share and that of the FC layers.


def figure(spec: NetSpec) -> Figure:
    """Returns a picture of a net of Table 1, or of all six, on an image of the crop's size.

    Boxes have the proportions of the layers' outputs. Beside them are the numbers of parameters
    and multiply-adds.

    Args:
      spec: The net; "all" for the six columns of Table 1.

    Raises:
      ValueError: See `architectures.layers`.
    """
    names = tuple(architectures.TABLE_2_MILLIONS) if spec.net == "all" else (spec.net,)
    nets = {name: _costs(dataclasses.replace(spec, net=name)) for name in names}
    rows = [_row(name, costs, spec.crop_px) for name, costs in nets.items()]
    shown = {box.kind for row in rows for block in row.blocks for box in block}
    return net_boxes.figure(
        rows,
        block_titles=_titles(next(iter(nets.values()))),
        bar_titles=["parameters", "multiply-adds"],
        bar_colours=[_COLOURS[part][0] for part in _PARTS],
        colours={kind: of_kind for kind, of_kind in _COLOURS.items() if kind in shown},
        caption=(
            "A box is as high and deep as its layer's map, and as long as its number of channels.\n"
            "The values of a fully connected layer are drawn as a square sheet. In the bars, the "
            "convolutions' share is light."
        ),
    )


def _costs(spec: NetSpec) -> tuple[Cost, ...]:
    return architectures.costs(spec.layers(), spec.crop_px)


def _row(name: str, costs: Sequence[Cost], crop_px: int) -> net_boxes.Row:
    blocks = _blocks(costs)
    boxes = [[_box(cost) for cost in block] for block in blocks]
    boxes[0].insert(0, net_boxes.Box("input", float(crop_px), 0))
    by_part = [[cost for cost in costs if (cost.layer.kind == "fc") == is_fc] for is_fc in (0, 1)]
    parameters = [sum(cost.layer.num_parameters for cost in part) for part in by_part]
    multiply_adds = [sum(cost.multiply_adds for cost in part) for part in by_part]
    num_layers = sum(cost.layer.num_weights > 0 for cost in costs)
    return net_boxes.Row(
        name,
        f"{num_layers} weight layers",
        boxes,
        [parameters, multiply_adds],
        [text_table.short(sum(parameters)), text_table.short(sum(multiply_adds))],
    )


def _blocks(costs: Sequence[Cost]) -> list[list[Cost]]:
    """Splits a net after each pooling. The FC layers are the last block."""
    blocks: list[list[Cost]] = [[]]
    for cost in costs:
        blocks[-1].append(cost)
        if cost.layer.kind == "pool":
            blocks.append([])
    return blocks


def _box(cost: Cost) -> net_boxes.Box:
    layer = cost.layer
    if layer.kind == "fc":
        return net_boxes.Box("fc", layer.features**0.5, 0)
    side = float(cost.output_px)
    if layer.kind == "conv":
        return net_boxes.Box(f"conv{layer.kernel_px}", side, layer.features)
    return net_boxes.Box(layer.kind, side, 0)


def _titles(costs: Sequence[Cost]) -> list[str]:
    *blocks, fc = _blocks(costs)
    sizes = [(block[0].output_px, block[0].layer.features) for block in blocks]
    titles = [f"{side} x {side}\nx {channels}" for side, channels in sizes]
    return [*titles, "\n".join(f"{cost.layer.features:,}" for cost in fc)]
