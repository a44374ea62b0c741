"""Writes a report as Markdown that reads well as plain text too."""

from collections.abc import Sequence

from launch.report import content, training_runs
from launch.report.content import Pair, Remedy, Report, Table
from launch.report.estimates import number, uncertainty


def write(made: Report) -> str:
    """Returns the text."""
    blocks = [f"# {content.TITLE}", content.ABOUT]
    blocks += [f"**{_escaped(warning)}**" for warning in made.warnings]
    blocks += [made.findings] if made.findings else []
    blocks.append("\n".join(f"- {name}: {_escaped(text)}" for name, text in made.facts))
    blocks.append(made.legend)
    for table in (*made.tables, made.comparisons):
        blocks += [f"## {table.title}", _escaped(table.caption), _of_table(table, made.seeds)]
        predictions = [
            f"- {_escaped(line.label)}: `{path}`"
            for line in table.lines
            for path in line.predictions
        ]
        blocks += ["Predictions:\n\n" + "\n".join(predictions)] if predictions else []
        blocks += [_of_remedy(remedy) for remedy in table.remedies]
    rows = [[_escaped(cell) for cell in (*run.texts, *run.numbers)] for run in made.runs]
    blocks += ["## The runs", training_runs.CAPTION]
    blocks.append(
        _aligned(
            (*training_runs.HEADER, *training_runs.NUMBERS), rows, text=len(training_runs.HEADER)
        )
    )
    return "\n\n".join(blocks) + "\n"


def _of_table(table: Table, seeds: int) -> str:
    signed, topic = table.is_of_differences, ""
    header, rows = ["difference of errors" if signed else ""], []
    for what in ("top-1", "top-5"):
        header += [f"{what}: paper", "ours", *([] if signed else ["diff."])]
    header += ["top-5 test: paper", "ours"] if table.has_test else []
    for line in table.lines:
        if line.topic != topic:
            topic = line.topic
            rows.append([f"**{_escaped(topic)}**", *[""] * (len(header) - 1)])
        cells = [_escaped(line.label)]
        for pair in (line.top1, line.top5):
            cells += _cells(pair, seeds, signed)
            cells += [] if signed else [number(pair.less, signed=True)]
        if table.has_test:
            of_paper, ours = _cells(line.top5_test, seeds, False)
            cells += [of_paper, ours or ("below" if line.predictions else "")]
        rows.append(cells)
    return _aligned(header, rows)


def _of_remedy(remedy: Remedy) -> str:
    lacking = "\n".join(f"- {_escaped(line)}" for line in remedy.lacking)
    return f"{remedy.purpose}\n\n    {remedy.command}\n\n{lacking}".rstrip()


def _cells(pair: Pair, seeds: int, signed: bool) -> list[str]:
    ours = pair.ours
    mean = number(ours.mean if ours else None, signed=signed)
    return [
        number(pair.paper, digits=1, signed=signed),
        f"{mean} {', '.join(uncertainty(ours, seeds, signed=signed))}".strip(),
    ]


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1) -> str:
    """Aligns cells, the first columns to the left and the others, numbers, to the right."""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if column < text else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def _escaped(text: str) -> str:
    """Has Markdown show a text as it is; [256;512] and d_256 it does as they stand."""
    for special in ("\\", "`", "*", "<", "|", "]("):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
