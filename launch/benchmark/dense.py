"""Compares dense evaluation of images of mixed sizes with that of a peer."""

import dataclasses
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from launch.benchmark import arithmetic, photos, table, turns
from launch.benchmark.case import Case
from launch.benchmark.turns import Results, Side
from vgg_jax.errors import UserError

# How much posteriors may differ, as a fraction of the largest one: float32 and bfloat16 are
# rounded to 24 and 8 bits, and the sums of both sides have another order.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}


def measure(
    case: Case,
    rates: dict[str, Any],
    *,
    scale: int,
    data: str | None,
    images: int | None,
    peer: str,
    rounds: int,
    limit_s: float,
) -> dict[str, Any]:
    """Prints the table of one case, and returns all measurements.

    Args:
      case: The net and its precision.
      rates: The result of `sides.jax_rates`.
      scale, data, images: See `photos.photos`.
      peer: "torch" or "none".
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: The posteriors of both sides differ, or see `turns.in_turns`.
    """
    on_cpu = rates["platform"] == "cpu"
    chosen = {"data": data, "count": images or (16 if on_cpu else 1024), "scale": scale}
    sizes = [(image.height, image.width) for image in photos.photos(**chosen)]
    settings = {
        "case": dataclasses.asdict(case),
        "images": chosen,
        "timing": {"warm_up": 1, "at_least": 1 if on_cpu else 3, "at_least_s": 2.0},
    }
    with tempfile.TemporaryDirectory(prefix="benchmark") as folder:
        sides = [Side("vgg_jax", "jax_dense", settings)]
        if peer == "torch":
            for name, batch in (
                ("PyTorch, one size a batch", 4 if on_cpu else 32),
                ("PyTorch, one image at a time", 1),
            ):
                more = {"platform": rates["platform"], "batch": batch}
                side = Side(name, "torch_dense", settings | more)
                sides += [side, turns.with_memory_kept(side)] if on_cpu else [side]
        outs = {side.name: f"{folder}/{number}.npy" for number, side in enumerate(sides)}
        sides = [
            dataclasses.replace(side, settings=side.settings | {"out": outs[side.name]})
            for side in sides
        ]
        results = turns.in_turns(sides, rounds, limit_s)
        differences = _differences({name: np.load(out) for name, out in outs.items()})
    print(rendered(case, rates, scale, sizes, results, differences))
    _refuse_different(differences, case)
    return {"rates": rates, **settings, "results": results, "differences": differences}


def _differences(posteriors: Mapping[str, Float32[np.ndarray, "n c"]]) -> dict[str, float]:
    """Returns each peer's largest difference to our posteriors, over our largest one."""
    ours, *_ = posteriors.values()
    return {
        name: float(np.abs(values - ours).max() / ours.max())
        for name, values in [*posteriors.items()][1:]
    }


def _refuse_different(differences: Mapping[str, float], case: Case) -> None:
    for name, difference in differences.items():
        if not difference <= TOLERANCE[case.dtype]:
            raise UserError(
                f"The posteriors of {name} differ from ours by {difference:.1e} of the largest, "
                f"which is more than {TOLERANCE[case.dtype]:g}. The times can't be compared."
            )


def rendered(
    case: Case,
    rates: dict[str, Any],
    scale: int,
    sizes: list[tuple[int, int]],
    results: Results,
    differences: Mapping[str, float],
) -> str:
    """Returns the table, the ratios and the floor as Markdown."""
    work = sum(arithmetic.dense_flops(case, *size) for size in sizes)
    rows, rates_of = [], {}
    for name, rounds in results.items():
        seconds, spread = table.median_of_rounds(rounds)
        rates_of[name] = len(sizes) / seconds
        rows.append(
            [
                name,
                table.number(rates_of[name]),
                f"{spread:.1%}",
                table.number(work / seconds / 1e9),
                f"{work / seconds / rates['flops_per_s']:.1%}",
                f"{rounds[0]['shapes']}",
                f"{rounds[0]['padding']:.1%}",
                table.number(rounds[0]["warm_up_s"]),
                f"{differences[name]:.1e}" if name in differences else "",
            ]
        )
    ours = results["vgg_jax"]
    for part, key in (("its batches alone, on the host", "batches_s"), ("its net alone", "net_s")):
        seconds, spread = table.median_of_rounds(ours, key)
        images_per_s = table.number(len(sizes) / seconds)
        rows.append([f"vgg_jax, {part}", images_per_s, f"{spread:.1%}", *[""] * 6])
    floor_per_s = len(sizes) * rates["flops_per_s"] / work
    floor = ["floor: the arithmetic at the matrix rate", table.number(floor_per_s), ""]
    rows.append([*floor, table.number(rates["flops_per_s"] / 1e9), "100%", "", "", "", ""])
    header = (
        *("", "images/s", "spread", "GFLOP/s", "of the matrix rate", "shapes", "padding"),
        *("first pass, s", "difference"),
    )
    lines = [
        f"Dense evaluation of {len(sizes)} images of {len({*sizes})} sizes at Q = {scale}, net "
        f"{case.net}, width {case.width:g}, {case.dtype}, {rates['device']}, "
        f"{table.medians(len(ours))}",
        "",
        table.markdown(header, rows),
        *(f"\nratio {rates_of['vgg_jax'] / rates_of[name]:.2f} to {name}" for name in differences),
    ]
    return "\n".join(lines)
