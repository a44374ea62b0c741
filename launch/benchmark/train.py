"""Compares training steps, or forward passes, with those of a peer."""

import dataclasses
import statistics
from typing import Any

from launch.benchmark import arithmetic, table, turns
from launch.benchmark.arithmetic import Part
from launch.benchmark.case import Case
from launch.benchmark.turns import Results, Side
from vgg_jax.errors import UserError


def measure(
    case: Case, part: Part, rates: dict[str, Any], *, peer: str, rounds: int, limit_s: float
) -> dict[str, Any]:
    """Prints the table of one case, and returns all measurements.

    Args:
      case: The net, its precision and its batch.
      part: The whole training step, or the forward pass alone.
      rates: The result of `sides.jax_rates`.
      peer: "torch" or "none".
      rounds: How many times each side is measured.
      limit_s: See `turns.in_turns`.

    Raises:
      UserError: See `turns.in_turns`.
    """
    on_cpu = rates["platform"] == "cpu"
    settings = {
        "case": dataclasses.asdict(case),
        "part": part,
        "timing": {
            "warm_up": 1 if on_cpu else 5,
            "at_least": 3 if on_cpu else 20,
            "at_least_s": 2.0,
        },
    }
    first: Results = {}
    sides, note = [Side("vgg_jax", "jax_step", settings)], ""
    if peer == "torch":
        eager, compiled = (
            Side(name, "torch_step", settings | {"platform": rates["platform"], "compiled": how})
            for name, how in (("PyTorch", False), ("PyTorch, torch.compile", True))
        )
        first, best, note = _first_round(sides[0], eager, compiled, limit_s)
        sides.append(best)
        if on_cpu:
            sides.append(turns.with_memory_kept(best))
    results = turns.in_turns(sides, rounds, limit_s, first)
    print(rendered(case, part, rates, results, note))
    return {
        "rates": rates,
        "case": settings["case"],
        "part": part,
        "results": first | results,  # The slower peer has one round.
        "note": note,
        "step_s": {side.name: table.median_of_rounds(results[side.name])[0] for side in sides[:2]},
    }


def _first_round(
    ours: Side, eager: Side, compiled: Side, limit_s: float
) -> tuple[Results, Side, str]:
    """Measures all three once; returns the results, the faster peer, and a note on the other."""
    results = turns.in_turns([ours, eager], 1, limit_s)
    try:
        results[compiled.name] = [turns.once(compiled, limit_s)]
    except UserError as error:
        return results, eager, f"torch.compile failed here: {str(error).splitlines()[-1]}"

    def seconds(side: Side) -> float:
        return statistics.median(results[side.name][0]["seconds"])

    best, other = sorted((eager, compiled), key=seconds)
    return (
        *(results, best),
        f"{other.name} took {table.number(1e3 * seconds(other))} ms in the first round.",
    )


def rendered(
    case: Case, part: Part, rates: dict[str, Any], results: Results, note: str = ""
) -> str:
    """Returns the table, the ratio and the floor as Markdown."""
    work = case.batch * arithmetic.flops_per_image(case, part)
    rows, images_per_s = [], []
    for name, rounds in results.items():
        seconds, spread = table.median_of_rounds(rounds)
        images_per_s.append(case.batch / seconds)
        rows.append(
            [
                name,
                table.number(images_per_s[-1]),
                f"{spread:.1%}",
                table.number(1e3 * seconds),
                table.number(work / seconds / 1e9),
                f"{work / seconds / rates['flops_per_s']:.1%}",
                table.gb(rounds[-1]["peak_bytes"]),  # The first round also tries algorithms.
            ]
        )
    floor_s = work / rates["flops_per_s"]
    rows.append(
        [
            "floor: the arithmetic at the matrix rate",
            table.number(case.batch / floor_s),
            "",
            table.number(1e3 * floor_s),
            table.number(rates["flops_per_s"] / 1e9),
            "100%",
            "",
        ]
    )
    what = "Training step" if part == "step" else "Forward pass"
    size = f"width {case.width:g}, {case.crop_px} px, batch {case.batch}, {case.dtype}"
    header = ("", "images/s", "spread", "ms", "GFLOP/s", "of the matrix rate", "peak GB")
    lines = [
        f"{what} of net {case.net}, {size}, {rates['device']}, "
        f"{table.medians(len(next(iter(results.values()))))}",
        "",
        table.markdown(header, rows),
        "",
        f"Copies move {table.number(rates['bytes_per_s'] / 1e9)} GB/s. {note}".rstrip(),
    ]
    for name, of_peer in list(zip(results, images_per_s, strict=True))[1:]:
        lines.append(f"\nratio {images_per_s[0] / of_peer:.2f} to {name}")
    return "\n".join(lines)
