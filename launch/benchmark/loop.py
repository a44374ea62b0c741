"""Compares an epoch of the training loop with its steps and its input by themselves."""

import dataclasses
from typing import Any

from launch.benchmark import table, turns
from launch.benchmark.case import Case
from launch.benchmark.turns import Results, Side
from vgg_jax import base_config
from vgg_jax.data.pooled import open_images
from vgg_jax.data.workers import told
from vgg_jax.errors import require


def measure(
    case: Case,
    rates: dict[str, Any],
    *,
    data: str | None,
    images: int | None,
    train_scale: tuple[int, int],
    workers: int,
    rounds: int,
    limit_s: float,
) -> dict[str, Any]:
    """Prints the table of one case, and returns all measurements.

    Args:
      case: The net, its precision and its batch.
      rates: The result of `sides.jax_rates`.
      data: A folder of class folders; None for the embedded data set.
      images: How many images an epoch has; they are repeated if there are fewer. None for all.
      train_scale: The smallest and the largest S, in px.
      workers: Worker processes that decode; 0 for threads.
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: An epoch has no whole batch, or see `turns.in_turns`.
    """
    count = len(open_images(data)) if data and not images else images
    if count is not None:
        require(
            count >= case.batch,
            f"{count:,} images are no whole batch of {case.batch}. Give a smaller --batch, or more "
            "--images, which repeat.",
        )
    settings = {
        "case": dataclasses.asdict(case),
        "data": data,
        "count": images,
        "train_scale": train_scale,
        "workers": workers,
        "cache_dir": base_config.get_config().data.cache_dir,
    }
    sides = [
        Side(name, "product_loop", settings | {"part": part})
        for name, part in (
            ("an epoch of the loop", "epoch"),
            ("its steps alone", "steps"),
            ("its input alone", "input"),
        )
    ]
    results = turns.in_turns(sides, rounds, limit_s)
    print(rendered(case, rates, workers, results))
    return {"rates": rates, "settings": settings, "results": results}


def rendered(case: Case, rates: dict[str, Any], workers: int, results: Results) -> str:
    """Returns the table and the ratio as Markdown."""
    medians, rows = [], []
    for name, rounds in results.items():
        seconds, spread = table.median_of_rounds(rounds)
        images_per_s = rounds[0]["steps"] * case.batch / seconds
        medians.append(seconds)
        rows.append([name, table.number(seconds), f"{spread:.1%}", table.number(images_per_s)])
    epoch_s, steps_s, input_s = medians
    # On a CPU both share the cores; a GPU computes while the CPU prepares the next batches.
    on_cpu = rates["platform"] == "cpu"
    floor_s = steps_s + input_s if on_cpu else max(steps_s, input_s)
    floor = "their sum" if on_cpu else "the larger of both"
    rows.append([f"floor: {floor}", table.number(floor_s), "", ""])
    steps, count = results["its steps alone"][0]["steps"], len(results["its steps alone"])
    return "\n".join(
        [
            f"An epoch of {steps} steps, net {case.net}, width {case.width:g}, {case.crop_px} px, "
            f"batch {case.batch}, {case.dtype}, {told(workers)}, {rates['device']}, "
            f"{table.medians(count)}",
            "",
            table.markdown(("", "seconds", "spread", "images/s"), rows),
            "",
            f"ratio {epoch_s / floor_s:.2f} of the epoch to {floor}",
        ]
    )
