"""Text tables of fixed-width characters."""

from collections.abc import Sequence


def align(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    num_text_columns: int,
    sums: Sequence[str] | None = None,
) -> list[str]:
    """Aligns cells: the first columns to the left, the others, numbers, to the right.

    Args:
      header: A cell a column.
      rows: Likewise.
      num_text_columns: How many columns are aligned to the left.
      sums: A last row, under a rule of its own; None for none.

    Returns:
      The lines of the table.
    """
    last = [] if sums is None else [sums]
    widths = [max(map(len, column)) for column in zip(header, *rows, *last, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < num_text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    rule = line(["-" * width for width in widths])
    lines = [line(header), rule, *map(line, rows)]
    return lines if sums is None else [*lines, rule, line(sums)]
