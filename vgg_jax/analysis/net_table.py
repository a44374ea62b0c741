"""Writes text tables of nets: sizes, weights, arithmetic and receptive fields."""

import dataclasses
from collections.abc import Sequence

from vgg_jax.analysis import text_table
from vgg_jax.analysis.specs import NetSpec
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Cost, Layer

_KINDS = {"conv": "conv", "pool": "maxpool", "fc": "fc", "lrn": "LRN"}


def column(spec: NetSpec, image_px: int | None = None) -> str:
    """Writes a net's column of Table 1 as a text table with its sizes and costs.

    Args:
      spec: The net.
      image_px: Side of the image that the net is applied to, in px; None means the crop's.

    Raises:
      ValueError: The net is unknown, the crop isn't a whole number of 32 px cells, or the image
        is smaller than the crop.
    """
    image_px = spec.crop_px if image_px is None else image_px
    layers = spec.layers()
    costs = architectures.costs(layers, image_px)
    header = ("layer", "kind", "output", "values", "weights", "multiply-adds", "receptive field")
    input_row = ("input", "RGB", _size(image_px, 3), f"{3 * image_px**2:,}", "-", "-", "1 px")
    sums = (
        *("sum", "", ""),
        f"{_num_values(costs, image_px):,}",
        f"{_num_weights(layers):,}",
        f"{_num_multiply_adds(costs):,}",
        "",
    )
    title = (
        f"{spec.net}: {_num_weight_layers(layers)} weight layers, {spec.num_classes:,} classes, "
        f"width {spec.width:g}, {spec.crop_px} px crop, on a {image_px} x {image_px} image"
    )
    table = text_table.align(
        header, [input_row, *map(_layer_row, costs)], num_text_columns=2, sums=sums
    )
    total = _parameter_total(spec, layers)
    return "\n".join([title, "", *table, "", total])


def comparison(spec: NetSpec, image_px: int | None = None) -> str:
    """Writes a text table with one row per net.

    Table 2's figures are left out where they don't apply: they count nets of width 1 with 1000
    classes and a 224 px crop.

    Args:
      spec: The settings that all nets have in common; its `net` is ignored.
      image_px: See `column`.

    Raises:
      ValueError: See `column`.
    """
    image_px = spec.crop_px if image_px is None else image_px
    rows = []
    for net in architectures.NETS:
        layers = dataclasses.replace(spec, net=net).layers()
        costs = architectures.costs(layers, image_px)
        num_parameters = architectures.num_parameters(layers)
        fc_share = _num_fc_parameters(layers) / num_parameters
        row = {
            "net": net,
            "weight layers": f"{_num_weight_layers(layers)}",
            "parameters": f"{num_parameters:,}",
            "Table 2": _table_2_figure(net),
            "multiply-adds": f"{_num_multiply_adds(costs):,}",
            "in FC layers": f"{fc_share:.1%}",
            "pool5 sees": f"{_last_pooling(costs).receptive_field_px} px",
            "values": f"{_num_values(costs, image_px):,}",
        }
        if not _is_table_2_setting(spec):
            del row["Table 2"]
        rows.append(row)
    title = (
        f"All nets: {spec.num_classes:,} classes, width {spec.width:g}, {spec.crop_px} px crop, "
        f"on a {image_px} x {image_px} image"
    )
    table = text_table.align(
        tuple(rows[0]), [tuple(row.values()) for row in rows], num_text_columns=1
    )
    legend = (
        "In FC layers: their share of the parameters. Values: the input and every layer's output."
    )
    return "\n".join([title, "", *table, "", legend])


def kernel_arithmetic() -> str:
    """Writes section 2.3's comparison of stacked 3x3 convolutions with one large kernel."""
    header = ("stack", "sees", "weights", "one kernel's", "more")
    rows = [_stack_row(number, count) for number, count in (("two", 2), ("three", 3))]
    field_px = {
        net: _last_pooling(architectures.costs(architectures.layers(net), 224)).receptive_field_px
        for net in ("B", "C")
    }
    return "\n".join(
        [
            "Stacked convolutions and one kernel that sees as much (section 2.3), "
            "with C channels in and out",
            "",
            *text_table.align(header, rows, num_text_columns=1),
            "",
            "C's 1x1 convolutions add non-linearities, not receptive field: "
            f"pool5 sees {field_px['C']} px in C, {field_px['B']} px in B.",
        ]
    )


def _layer_row(cost: Cost) -> tuple[str, ...]:
    layer = cost.layer
    kernel = f"{layer.kernel_px}x{layer.kernel_px}" if layer.kernel_px else ""
    return (
        layer.name,
        f"{_KINDS[layer.kind]} {kernel}".strip(),
        _size(cost.output_px, layer.features),
        f"{cost.values:,}",
        f"{layer.num_weights:,}" if layer.num_weights else "-",
        f"{cost.multiply_adds:,}" if layer.num_weights else "-",
        f"{cost.receptive_field_px} px",
    )


def _stack_row(number: str, count: int) -> tuple[str, ...]:
    # With one channel the number of weights is the factor of C^2.
    stack = count * (Layer("conv", "conv", 3, 1, 1),)
    seen_px = architectures.costs(stack, 224)[-1].receptive_field_px
    weights, single_weights = _num_weights(stack), seen_px**2
    return (
        f"{number} 3x3",
        f"{seen_px}x{seen_px}",
        f"{weights} C^2",
        f"{single_weights} C^2",
        f"{single_weights / weights - 1:.0%}",
    )


def _parameter_total(spec: NetSpec, layers: Sequence[Layer]) -> str:
    total, weights = architectures.num_parameters(layers), _num_weights(layers)
    text = f"{total:,} parameters ({weights:,} weights and {total - weights:,} biases)"
    if not _is_table_2_setting(spec):
        return f"{text}; Table 2 counts 1000 classes, width 1 and a 224 px crop only."
    if spec.net not in architectures.TABLE_2_MILLIONS:
        return f"{text}; Table 2 has no figure for {spec.net}."
    return f"{text}; Table 2: {_table_2_figure(spec.net)}."


def _table_2_figure(net: str) -> str:
    millions = architectures.TABLE_2_MILLIONS.get(net)
    return "-" if millions is None else f"{millions} million"


def _is_table_2_setting(spec: NetSpec) -> bool:
    return (spec.num_classes, spec.width, spec.crop_px) == (1000, 1.0, 224)


def _num_values(costs: Sequence[Cost], image_px: int) -> int:
    return 3 * image_px**2 + sum(cost.values for cost in costs)


def _num_multiply_adds(costs: Sequence[Cost]) -> int:
    return sum(cost.multiply_adds for cost in costs)


def _num_weights(layers: Sequence[Layer]) -> int:
    return sum(layer.num_weights for layer in layers)


def _num_weight_layers(layers: Sequence[Layer]) -> int:
    return sum(layer.num_weights > 0 for layer in layers)


def _num_fc_parameters(layers: Sequence[Layer]) -> int:
    return sum(layer.num_parameters for layer in layers if layer.kind == "fc")


def _last_pooling(costs: Sequence[Cost]) -> Cost:
    return [cost for cost in costs if cost.layer.kind == "pool"][-1]


def _size(side: int, features: int) -> str:
    return f"{side} x {side} x {features}"
