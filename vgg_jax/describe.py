"""Prints Table 1's nets in numbers: sizes, weights, arithmetic, receptive fields.

    python -m vgg_jax.describe --net=D
    python -m vgg_jax.describe --net=all --image_px=384
    python -m vgg_jax.describe --net=D --batch=256
    python -m vgg_jax.describe --net=D --mesh=1,8

The third prints the memory of a training step instead: see `vgg_jax.analysis.memory_table`; the
last what devices exchange in it: see `vgg_jax.analysis.virtual_mesh`. JAX is imported for the last
alone, so that the others answer at once.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from vgg_jax.analysis import memory, memory_table, text_table, virtual_mesh
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Cost, Layer

_KINDS = {"conv": "conv", "pool": "maxpool", "fc": "fc", "lrn": "LRN"}


def describe(
    net: str,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    crop_px: int = 224,
    image_px: int | None = None,
) -> str:
    """Writes a net's column of Table 1 as a text table with its sizes and costs.

    Args:
      net: One of `architectures.NETS`.
      num_classes: Outputs of FC8.
      width: Multiplies every number of channels but the input's and FC8's.
      crop_px: Side of the training crop, which FC6's kernel covers.
      image_px: Side of the image that the net is applied to; None means the crop's.

    Raises:
      ValueError: The net is unknown, the crop isn't a whole number of 32 px cells, or the image
        is smaller than the crop.
    """
    image_px = crop_px if image_px is None else image_px
    layers = architectures.layers(net, num_classes=num_classes, width=width, crop_px=crop_px)
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
        f"{net}: {_num_weight_layers(layers)} weight layers, {num_classes:,} classes, "
        f"width {width:g}, {crop_px} px crop, on a {image_px} x {image_px} image"
    )
    table = text_table.align(header, [input_row, *map(_layer_row, costs), sums], num_text_columns=2)
    table.insert(-1, table[1])
    total = _parameter_total(net, layers, _is_table_2_setting(num_classes, width, crop_px))
    return "\n".join([title, "", *table, "", total])


def compare(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    crop_px: int = 224,
    image_px: int | None = None,
) -> str:
    """Writes a text table with one row a net; arguments and errors are `describe`'s.

    Table 2's figures are left out where they don't apply: they count nets of width 1 with 1000
    classes and a 224 px crop.
    """
    image_px = crop_px if image_px is None else image_px
    with_table_2 = _is_table_2_setting(num_classes, width, crop_px)
    rows = []
    for net in architectures.NETS:
        layers = architectures.layers(net, num_classes=num_classes, width=width, crop_px=crop_px)
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
        if not with_table_2:
            del row["Table 2"]
        rows.append(row)
    title = (
        f"All nets: {num_classes:,} classes, width {width:g}, {crop_px} px crop, "
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
    header = ("stack", "sees", "weights", "one kernel's", "more", "from 3 to 64", "one kernel's")
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
            "From 3 to 64 channels, 3 input channels are counted for each layer, as in a net's "
            "first.",
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
    stack = _convolutions(count, 3, features_in=1, features=1)
    seen_px = architectures.costs(stack, 224)[-1].receptive_field_px
    weights = _num_weights(stack)
    single_weights = _num_weights(_convolutions(1, seen_px, features_in=1, features=1))
    return (
        f"{number} 3x3",
        f"{seen_px}x{seen_px}",
        f"{weights} C^2",
        f"{single_weights} C^2",
        f"{single_weights / weights - 1:.0%}",
        f"{_num_weights(_convolutions(count, 3, features_in=3, features=64)):,}",
        f"{_num_weights(_convolutions(1, seen_px, features_in=3, features=64)):,}",
    )


def _convolutions(
    count: int, kernel_px: int, *, features_in: int, features: int
) -> tuple[Layer, ...]:
    return count * (Layer("conv", "conv", kernel_px, features_in, features),)


def _parameter_total(net: str, layers: Sequence[Layer], with_table_2: bool) -> str:
    total, weights = architectures.num_parameters(layers), _num_weights(layers)
    text = f"{total:,} parameters ({weights:,} weights and {total - weights:,} biases)"
    if not with_table_2:
        return f"{text}; Table 2 counts 1000 classes, width 1 and a 224 px crop only."
    if net not in architectures.TABLE_2_MILLIONS:
        return f"{text}; Table 2 has no figure for {net}."
    return f"{text}; Table 2: {_table_2_figure(net)}."


def _table_2_figure(net: str) -> str:
    millions = architectures.TABLE_2_MILLIONS.get(net)
    return "-" if millions is None else f"{millions} million"


def _is_table_2_setting(num_classes: int, width: float, crop_px: int) -> bool:
    return (num_classes, width, crop_px) == (1000, 1.0, 224)


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


def main(argv: Sequence[str]) -> int:
    """Prints what the flags ask for; returns the exit status."""
    if len(argv) > 1:
        return _report(f"Unexpected argument {argv[1]!r}. Name the net with --net={argv[1]}.")
    net = flags.FLAGS.net
    names = ("num_classes", "width", "crop_px", "image_px")
    setting = {name: flags.FLAGS[name].value for name in names}
    of_a_step = {name: flags.FLAGS[name].value for name in ("dtype", "micro_batches", "remat")}
    batch, mesh = flags.FLAGS.batch, flags.FLAGS.mesh
    try:
        if mesh is not None or batch is not None:
            del setting["image_px"]  # Training has crops only.
        if mesh is not None:
            print(virtual_mesh.traffic_table(net, mesh, batch, **setting, **of_a_step))
            return 0
        if batch is not None:
            print(memory_table.table(net, batch, **setting, **of_a_step))
            return 0
        for name, value in of_a_step.items():
            if value is not None:
                raise ValueError(
                    f"--{name} is of a training step. Add --batch=IMAGES or --mesh=DATA,MODEL."
                )
        text = compare(**setting) if net == "all" else describe(net, **setting)
    except ValueError as error:
        return _report(error)
    print(text, kernel_arithmetic(), sep="\n\n")
    return 0


def run() -> None:
    """Defines the flags, then runs the command."""
    # Not on import: another command may define flags of the same names.
    flags.DEFINE_string("net", "all", f"{', '.join(architectures.NETS)}, or all to compare them.")
    flags.DEFINE_integer("num_classes", 1000, "Outputs of FC8.", lower_bound=1)
    flags.DEFINE_float("width", 1.0, "Multiplies every hidden layer's channels.", lower_bound=0.0)
    flags.DEFINE_integer("crop_px", 224, "Side of the training crop, which FC6's kernel covers.")
    flags.DEFINE_integer("image_px", None, "Side of the image; the crop's if not given.")
    flags.DEFINE_integer(
        "batch",
        None,
        "Images a device; prints a training step's memory. With --mesh, images on all devices; 256 "
        "if not given.",
    )
    flags.DEFINE_string(
        "mesh", None, "DATA,MODEL: prints what so many devices exchange in a training step."
    )
    flags.DEFINE_enum("dtype", None, list(memory.DTYPES), "With --batch; both if not given.")
    flags.DEFINE_integer("micro_batches", None, "With --batch or --mesh.")
    flags.DEFINE_boolean("remat", None, "With --batch or --mesh.")
    app.run(main, flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_report(error))


def _report(error: object) -> int:
    print(f"describe: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    run()
