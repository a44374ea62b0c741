"""Text tables for fixed-width fonts."""

from collections.abc import Sequence


def align(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    num_text_columns: int,
    sums: Sequence[str] | None = None,
) -> list[str]:
    """Aligns the first columns to the left and the others, numbers, to the right.

    Args:
      header: A cell for each column.
      rows: The rows, each with a cell for each column.
      num_text_columns: How many columns are aligned to the left.
      sums: The last row, below a second rule; None for none.

    Returns:
      The lines of the table.
    """
    last = [] if sums is None else [sums]
    header, *rows = pad([header, *rows, *last], num_text_columns=num_text_columns)
    rule = ["-" * len(cell) for cell in header]
    lines = [header, rule, *rows]
    if sums is not None:
        lines.insert(-1, rule)
    return ["  ".join(cells).rstrip() for cells in lines]


def pad(
    rows: Sequence[Sequence[str]], *, num_text_columns: int, min_width: int = 0
) -> list[list[str]]:
    """Pads cells to the width of their column.

    Args:
      rows: All rows, including the header.
      num_text_columns: How many columns are aligned to the left; the others, numbers, are aligned
        to the right.
      min_width: The least width of a column, in characters.
    """
    widths = [max(min_width, *map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.ljust(width) if column < num_text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in rows
    ]


def short(number: int | float) -> str:
    """Returns a number of 0 or more with two or three digits, for example 138 M or 7.6 G."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= factor:
            digits = 0 if number >= 100 * factor else 1
            return f"{number / factor:.{digits}f} {unit}"
    return f"{number:g}"
