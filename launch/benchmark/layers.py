"""Compares each convolution of a net, and its gradients, with a peer's."""

import dataclasses
import statistics
from typing import Any

from launch.benchmark import arithmetic, table, turns
from launch.benchmark.case import Case
from launch.benchmark.turns import Side

Results = dict[str, list[dict[str, dict[str, list[float]]]]]


def measure(
    case: Case,
    rates: dict[str, Any],
    step_s: dict[str, float],
    *,
    peer: str,
    rounds: int,
    limit_s: float,
) -> Results:
    """Prints the table of all convolutions, and returns all measurements.

    Args:
      case: The net, its precision and its batch.
      rates: The result of `sides.jax_rates`.
      step_s: The seconds of the whole step: ours, then the peer's.
      peer: "torch" or "none".
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: See `turns.in_turns`.
    """
    on_cpu = rates["platform"] == "cpu"
    settings = {
        "case": dataclasses.asdict(case),
        "timing": {"warm_up": 1, "at_least": 3, "at_least_s": 0.1},
        "calls": 1 if on_cpu else 10,
    }
    sides = [Side("vgg_jax", "jax_layers", settings)]
    if peer == "torch":
        platform = {"platform": rates["platform"]}
        sides.append(Side("PyTorch", "torch_layers", settings | platform))
    results = turns.in_turns(sides, rounds, limit_s)
    print(f"\n{rendered(case, rates, step_s, results)}")
    return results


def rendered(case: Case, rates: dict[str, Any], step_s: dict[str, float], results: Results) -> str:
    """Returns the table as Markdown: each pass of each convolution, and the rest of the step."""
    header = ["", "pass", "floor, ms"]
    for name in results:
        header += [f"{name}, ms", "GFLOP/s", "of the matrix rate"]
    rows, sums_s = [], dict.fromkeys(results, 0.0)
    for layer, side in arithmetic.convolutions(case):
        flops = arithmetic.pass_flops(case, layer, side)
        floor_s = max(
            flops / rates["flops_per_s"],
            arithmetic.pass_bytes(case, layer, side) / rates["bytes_per_s"],
        )
        for each in arithmetic.passes(layer):
            cells = [layer.name, each, table.number(1e3 * floor_s)]
            for name, rounds in results.items():
                seconds = statistics.median(
                    statistics.median(measured[layer.name][each]) for measured in rounds
                )
                sums_s[name] += seconds
                cells += [
                    table.number(1e3 * seconds),
                    table.number(flops / seconds / 1e9),
                    f"{flops / seconds / rates['flops_per_s']:.0%}",
                ]
            rows.append(cells)
    for what, values in (
        ("all convolutions", sums_s.values()),
        ("the whole step", step_s.values()),
        (
            "the step beyond them",
            [step - own for step, own in zip(step_s.values(), sums_s.values(), strict=True)],
        ),
    ):
        cells = [what, "", ""]
        for seconds in values:
            cells += [table.number(1e3 * seconds), "", ""]
        rows.append(cells)
    return table.markdown(header, rows)
