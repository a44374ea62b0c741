"""Compares the input of training, decoding and random crops, with that of a peer or of other data.

Data in several forms, such as archives and folders, are compared where each --data names one form.
"""

import os
from collections.abc import Sequence
from typing import Any

from launch.benchmark import table, turns
from launch.benchmark.opened import open_data
from launch.benchmark.turns import Results, Side
from vgg_jax.errors import UserError

# Images are resized in two passes, each of which rounds. Pillow takes the cheaper one first, which
# may be the other one than here, and so both roundings may differ.
MOST_DIFFERENCE = 2
TIMING = {"warm_up": 2, "at_least": 5, "at_least_s": 1.0}
PEER = "Pillow"


def measure(
    data: Sequence[str],
    data_name: str | None,
    *,
    train_scale: tuple[int, int],
    crop_px: int,
    workers: int,
    peer: str,
    rounds: int,
    limit_s: float,
) -> dict[str, Any]:
    """Prints the table, and returns all measurements.

    Args:
      data, data_name: The images: see `opened.open_data`.
      train_scale: The smallest and the largest S, in px.
      crop_px: Side of the crops, in px.
      workers: Worker processes of each side.
      peer: "pillow", for which data is a single folder of class folders, or "none".
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: There are no images, crops differ from Pillow's by more than rounding, or see
        `turns.in_turns`.
    """
    opened = [open_data(where, data_name) for where in data]
    settings = {
        "train_scale": train_scale,
        "crop_px": crop_px,
        "workers": workers,
        "timing": TIMING,
    }
    names = ["vgg_jax"] if len(data) == 1 else data
    sides = [
        Side(name, "product_input", settings | {"data": where, "data_name": data_name})
        for name, where in zip(names, data, strict=True)
    ]
    if peer == "pillow":
        (where,), (source,) = data, opened
        paths = [os.path.join(where, source.name(index)) for index in range(len(source))]
        sides.append(Side(PEER, "pillow_input", settings | {"paths": paths}))
    results = turns.in_turns(sides, rounds, limit_s, per=" per image")
    print(rendered(settings, [len(source) for source in opened], results))
    difference = max(each["difference"] for name in names for each in results[name])
    if difference > MOST_DIFFERENCE:
        raise UserError(
            f"Crops differ from Pillow's by up to {difference} grey levels, where rounding "
            f"explains {MOST_DIFFERENCE}. The times can't be compared."
        )
    return {"data": data, "data_name": data_name, "settings": settings, "results": results}


def rendered(settings: dict[str, Any], num_images: Sequence[int], results: Results) -> str:
    """Returns the table, the ratios and the largest difference of a crop as Markdown."""
    rows, per_s = [], {}
    for what, key, cores in (
        ("decoding and crops", "seconds", settings["workers"]),
        ("decoding alone", "decode_s", 1),
        ("reading alone, at random", "read_s", 1),
    ):
        for name, rounds in results.items():
            if key not in rounds[0]:
                continue  # The peer reads files as one of the others does.
            seconds, spread = table.median_of_rounds(rounds, key)
            per_s.setdefault(name, 1 / seconds / cores)
            cells = (table.number(1 / seconds / cores), f"{spread:.1%}")
            rows.append([what, name, *cells, table.number(1e3 * seconds * cores)])
    low, high = settings["train_scale"]
    header = ("", "", "images/s a core", "spread", "ms of a core per image")
    ours = [rounds for name, rounds in results.items() if name != PEER]
    lines = [
        f"Random crops of {settings['crop_px']} px, S in [{low}; {high}], from "
        f"{', '.join(f'{count:,}' for count in dict.fromkeys(num_images))} images, "
        f"{settings['workers']} worker processes, {table.medians(len(ours[0]))}",
        "",
        table.markdown(header, rows),
        "",
        "The largest difference of a crop's value to Pillow's is "
        f"{max(rounds[0]['difference'] for rounds in ours)}, and "
        f"{max(rounds[0]['differing'] for rounds in ours):.2%} of the values differ.",
    ]
    if PEER in per_s:
        lines += ["", f"ratio {per_s['vgg_jax'] / per_s[PEER]:.2f}"]
    elif len(per_s) > 1:
        first, *others = per_s
        lines += [""]
        lines += [f"ratio {per_s[name] / per_s[first]:.2f} of {name} to {first}" for name in others]
    return "\n".join(lines)
