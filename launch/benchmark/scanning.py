"""Compares the scan that precedes training with the reading of an epoch, by worker processes."""

from typing import Any

from launch.benchmark import crop_input, table, turns
from launch.benchmark.opened import open_data
from launch.benchmark.turns import Results, Side
from vgg_jax.counted import counted
from vgg_jax.data import workers

_IMAGENET = 1_281_167  # Training images.


def measure(
    data: str,
    data_name: str | None,
    *,
    images: int | None,
    train_scale: tuple[int, int],
    crop_px: int,
    most_workers: int,
    rounds: int,
    limit_s: float,
) -> dict[str, Any]:
    """Prints the table, and returns all measurements.

    Args:
      data, data_name: The images: see `opened.open_data`.
      images: How many images are scanned; they are repeated if there are fewer. None for all.
      train_scale, crop_px: See `crop_input.measure`.
      most_workers: The most worker processes. Fewer are measured too, and threads.
      rounds, limit_s: See `turns.in_turns`.

    Raises:
      UserError: There are no images, or see `turns.in_turns`.
    """
    count = images or len(open_data(data, data_name))
    counts = [0, *(2**i for i in range(most_workers.bit_length()))]
    crops = {"train_scale": train_scale, "crop_px": crop_px, "timing": crop_input.TIMING}
    sides = []
    for number in counts:
        settings = {"data": data, "data_name": data_name, "workers": number}
        sides.append(Side(_scan(number), "product_scan", settings | {"num_images": count}))
        sides.append(Side(_epoch(number), "product_input", settings | crops))
    results = turns.in_turns(sides, rounds, limit_s)
    print(rendered(counts, count, results))
    return {"data": data, "data_name": data_name, "images": count, "results": results}


def rendered(counts: list[int], num_images: int, results: Results) -> str:
    """Returns the table as Markdown."""
    rows = []
    for number in counts:
        scan_s, scan_spread = table.median_of_rounds(results[_scan(number)])
        epoch_s, epoch_spread = table.median_of_rounds(results[_epoch(number)])
        start_s, _ = table.median_of_rounds(results[_scan(number)], "start_s")
        crops = f"{table.number(1 / epoch_s)} ({epoch_spread:.1%})"
        if scan_s <= 0:
            rows.append([_told(number), turns.TOO_FEW, table.number(start_s), crops, "", ""])
            continue
        rows.append(
            [
                _told(number),
                *(f"{table.number(1 / scan_s)} ({scan_spread:.1%})", table.number(start_s), crops),
                *(f"{scan_s / epoch_s:.2f}", table.number(_IMAGENET * scan_s / 60)),
            ]
        )
    header = (
        *("", "scan, images/s (spread)", "its start, s", "random crops, images/s (spread)"),
        *("scan / an epoch's reading", "scan of ImageNet, min"),
    )
    return (
        f"Scan of {num_images:,} images on {workers.available_cores()} cores, "
        f"{table.medians(len(results[_scan(0)]))}\n\n{table.markdown(header, rows)}"
    )


def _scan(number: int) -> str:
    return f"scan, {_told(number)}"


def _epoch(number: int) -> str:
    return f"crops, {_told(number)}"


def _told(number: int) -> str:
    return counted(number, "worker processes", "worker process") if number else "threads"
