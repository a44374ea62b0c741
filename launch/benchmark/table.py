"""Tables of measurements in Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose cells are given as text."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def medians(num_rounds: int) -> str:
    """Returns the words that say of how many rounds a table has the medians."""
    return "one round" if num_rounds == 1 else f"medians of {num_rounds} rounds"


def median_of_rounds(
    rounds: Sequence[Mapping[str, Any]], key: str = "seconds"
) -> tuple[float, float]:
    """Returns the median over rounds of each round's median seconds, and their spread.

    Args:
      rounds: The results of a side.
      key: The key of each result's list of seconds.

    Returns:
      The median in s, and the largest less the smallest round as a fraction of it.
    """
    medians = [statistics.median(each[key]) for each in rounds]
    middle = statistics.median(medians)
    return middle, (max(medians) - min(medians)) / middle


def number(value: float) -> str:
    """Returns a positive number with three digits, or all that stand before the point."""
    for digits in (2, 1):
        if value < 10 ** (3 - digits):
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def gb(value: int | None) -> str:
    """Returns bytes as GB (10^9), or "-" if they aren't known."""
    return "-" if value is None else f"{value / 1e9:.2f}"
