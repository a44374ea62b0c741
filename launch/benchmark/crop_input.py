"""Compares the input of training, decoding and random crops, with that of a peer."""

import os
from typing import Any

from launch.benchmark import table, turns
from launch.benchmark.turns import Results, Side
from vgg_jax.data.pooled import open_images
from vgg_jax.errors import UserError

# Pillow resizes in two passes, each of which rounds, and takes the cheaper one first. For a crop's
# box alone that may be the other one than for the whole image, and so both roundings may differ.
MOST_DIFFERENCE = 2


def measure(
    data: str,
    *,
    train_scale: tuple[int, int],
    crop_px: int,
    workers: int,
    peer: str,
    rounds: int,
    limit_s: float,
) -> dict[str, Any]:
    """Prints the table for one folder of images, and returns all measurements.

    Args:
      data: A folder of class folders.
      train_scale: The smallest and the largest S, in px.
      crop_px: Side of the crops, in px.
      workers: Worker processes of each side.
      peer: "pillow" or "none".
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: There are no images, crops differ from Pillow's by more than rounding, or see
        `turns.in_turns`.
    """
    source = open_images(data)
    settings = {
        "train_scale": train_scale,
        "crop_px": crop_px,
        "workers": workers,
        "timing": {"warm_up": 2, "at_least": 5, "at_least_s": 1.0},
    }
    sides = [Side("vgg_jax", "product_input", settings | {"data": data})]
    if peer == "pillow":
        paths = [os.path.join(data, source.name(index)) for index in range(len(source))]
        sides.append(Side("Pillow", "pillow_input", settings | {"paths": paths}))
    results = turns.in_turns(sides, rounds, limit_s)
    print(rendered(settings, len(source), results))
    difference = max(each["difference"] for each in results["vgg_jax"])
    if difference > MOST_DIFFERENCE:
        raise UserError(
            f"Crops differ from Pillow's by up to {difference} grey levels, where rounding "
            f"explains {MOST_DIFFERENCE}. The times can't be compared."
        )
    return {"data": data, "settings": settings, "results": results}


def rendered(settings: dict[str, Any], num_images: int, results: Results) -> str:
    """Returns the table, the ratio and the largest difference of a crop as Markdown."""
    rows, per_s = [], {}
    for what, key, cores in (
        ("decoding and crops", "seconds", settings["workers"]),
        ("decoding alone", "decode_s", 1),
    ):
        for name, rounds in results.items():
            seconds, spread = table.median_of_rounds(rounds, key)
            per_s.setdefault(name, 1 / seconds / cores)
            cells = (table.number(1 / seconds / cores), f"{spread:.1%}")
            rows.append([what, name, *cells, table.number(1e3 * seconds * cores)])
    low, high = settings["train_scale"]
    header = ("", "", "images/s a core", "spread", "ms of a core per image")
    ours = results["vgg_jax"]
    lines = [
        f"Random crops of {settings['crop_px']} px, S in [{low}; {high}], from {num_images:,} "
        f"images, {settings['workers']} worker processes, medians of {len(ours)} rounds",
        "",
        table.markdown(header, rows),
        "",
        f"The largest difference of a crop's value to Pillow's is {ours[0]['difference']}, and "
        f"{ours[0]['differing']:.2%} of the values differ.",
    ]
    if "Pillow" in per_s:
        lines += ["", f"ratio {per_s['vgg_jax'] / per_s['Pillow']:.2f}"]
    return "\n".join(lines)
