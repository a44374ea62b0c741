"""Writes a report as Markdown that reads well as plain text too."""

from collections.abc import Sequence

from launch.report import columns, document, training_runs
from launch.report.columns import Cell
from launch.report.document import Remedy, Report, Table
from vgg_jax import safe_text
from vgg_jax.analysis import text_table


def write(made: Report) -> str:
    """Returns the report as Markdown."""
    blocks = [f"# {document.TITLE}", document.ABOUT]
    blocks += [f"**{_escaped(warning)}**" for warning in made.warnings]
    blocks += [made.findings] if made.findings else []
    blocks.append("\n".join(f"- {name}: {_escaped(text)}" for name, text in made.facts))
    blocks.append(made.legend)
    for table in (*made.tables, made.comparisons):
        blocks += [f"## {table.title}", _escaped(table.caption), of_table(table, made.seeds)]
        predictions = [
            f"- {_escaped(line.label)}: `{path}`"
            for line in table.lines
            for path in line.top5_test.predictions
        ]
        blocks += ["Predictions:\n\n" + "\n".join(predictions)] if predictions else []
        blocks += [_of_remedy(remedy) for remedy in table.remedies]
    blocks += ["## The runs", training_runs.CAPTION, _of_runs(made)]
    return "\n\n".join(blocks) + "\n"


def of_table(table: Table, seeds: int) -> str:
    """Returns the lines of a table as Markdown, without its title and caption.

    Args:
      table: The table.
      seeds: How many seeds its figures should have.
    """
    groups, topic = columns.of(table, seeds), ""
    header = ["difference of errors" if table.is_of_differences else ""]
    for group in groups:
        first, *others = [column.name for column in group.columns]
        header += [f"{group.heading(' ')}: {first}", *others]
    rows = []
    for line in table.lines:
        if line.topic != topic:
            topic = line.topic
            rows.append([f"**{_escaped(topic)}**", *[""] * (len(header) - 1)])
        cells = [
            _text(column.cell(group.figures(line))) for group in groups for column in group.columns
        ]
        rows.append([_escaped(line.label), *cells])
    return _aligned(header, rows)


def _text(cell: Cell) -> str:
    text = f"{cell.text} {', '.join(cell.beside)}".strip()
    return text or ("below" if cell.files else "")


def _of_remedy(remedy: Remedy) -> str:
    lacking = "\n".join(f"- {_escaped(line)}" for line in remedy.lacking)
    return f"{remedy.purpose}\n\n    {remedy.command}\n\n{lacking}".rstrip()


def _of_runs(made: Report) -> str:
    of_runs = columns.of_runs(made.runs)
    header = [column.name for column in of_runs]
    rows = [[_escaped(column.text(run)) for column in of_runs] for run in made.runs]
    num_texts = sum(not column.is_number for column in of_runs)
    return _aligned(header, rows, num_text_columns=num_texts)


def _aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, num_text_columns: int = 1
) -> str:
    # In Markdown, the rule below a header needs at least three characters per column.
    header, *rows = text_table.pad([header, *rows], num_text_columns=num_text_columns, min_width=3)
    rule = [
        "-" * len(cell) if column < num_text_columns else "-" * (len(cell) - 1) + ":"
        for column, cell in enumerate(header)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def _escaped(text: str) -> str:
    """Escapes a text so that Markdown shows it as it is; [256;512] and d_256 need no escapes."""
    text = safe_text.printable(" ".join(text.split()))
    for special in ("\\", "`", "*", "<", "|", "]("):
        text = text.replace(special, f"\\{special}")
    return text
