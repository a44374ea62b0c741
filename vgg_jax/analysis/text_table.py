"""Text tables of fixed-width characters."""

from collections.abc import Sequence


def align(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, num_text_columns: int
) -> list[str]:
    """Aligns cells: the first columns to the left, the others, numbers, to the right."""
    header, *rows = pad([header, *rows], num_text_columns=num_text_columns)
    rule = ["-" * len(cell) for cell in header]
    return ["  ".join(cells).rstrip() for cells in (header, rule, *rows)]


def pad(
    rows: Sequence[Sequence[str]], *, num_text_columns: int, min_width: int = 0
) -> list[list[str]]:
    """Pads cells to the width of their column.

    Args:
      rows: All rows, the header among them.
      num_text_columns: How many columns are aligned to the left; the others, numbers, are aligned
        to the right.
      min_width: What every column is wide at least, in characters.
    """
    widths = [max(min_width, *map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.ljust(width) if column < num_text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in rows
    ]
