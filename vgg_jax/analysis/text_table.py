"""Text tables of fixed-width characters."""

from collections.abc import Sequence


def align(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, num_text_columns: int
) -> list[str]:
    """Aligns cells: the first columns to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < num_text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    return [line(header), line(["-" * width for width in widths]), *map(line, rows)]
