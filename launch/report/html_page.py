"""Writes a report as one HTML file, which needs no network and no scripts."""

import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

from launch.report import columns, document, plots, training_runs
from launch.report.columns import Cell, Column, Group, RunColumn
from launch.report.document import Remedy, Report, Table
from launch.report.plots import Axis
from launch.report.training_runs import Run
from vgg_jax import web_page
from vgg_jax.web_page import Section, escaped

_STYLE = pathlib.Path(__file__).with_name("page.css")


def write(made: Report) -> str:
    """Returns the report as an HTML page."""
    tables = (*made.tables, made.comparisons)
    warnings = "".join(f'<p class="warning">{escaped(warning)}</p>' for warning in made.warnings)
    findings = f'<p class="findings">{escaped(made.findings)}</p>' if made.findings else ""
    return web_page.page(
        document.TITLE,
        document.ABOUT,
        made.facts,
        [*(_section(table, made.seeds) for table in tables), _runs(made)],
        style=_STYLE,
        notes=warnings + findings,
        legend=f"{plots.key()} {escaped(made.legend)}",
    )


def _section(table: Table, seeds: int) -> Section:
    groups = columns.of(table, seeds)
    axes = {
        group: Axis.of(map(group.figures, table.lines), with_zero=table.is_of_differences)
        for group in groups
        if group.is_plotted
    }
    remedies = "".join(map(_remedy, table.remedies))
    content = f"""<table class="figures">
<thead>{_head(groups, axes)}</thead>
{_body(table, groups, axes, seeds)}</table>
{remedies}"""
    return Section(_anchor(table), table.title, table.caption, content)


def _head(groups: Sequence[Group], axes: Mapping[Group, Axis]) -> str:
    over, names = ["<td></td>"], ["<td></td>"]
    for group in groups:
        over.append(f'<th class="group" colspan="{_width(group)}">{group.heading(", ")}</th>')
        if group.is_plotted:
            names.append(f'<th class="plotted">{plots.scale(axes[group])}</th>')
        for column in group.columns:
            names.append(f'<th class="{column.css_class}">{column.name}</th>')
            names += ["<td></td>"] if column.has_beside else []
    return f'<tr class="groups">{"".join(over)}</tr><tr>{"".join(names)}</tr>'


def _body(table: Table, groups: Sequence[Group], axes: Mapping[Group, Axis], seeds: int) -> str:
    rows, topic = [], ""
    width = 1 + sum(map(_width, groups))
    for line in table.lines:
        if line.topic != topic:
            topic = line.topic
            rows.append(
                f'<tr class="topic"><th colspan="{width}" scope="rowgroup">'
                f"{escaped(topic)}</th></tr>"
            )
        cells = [f'<th class="label" scope="row">{escaped(line.label)}</th>']
        for group in groups:
            figures, prefix = group.figures(line), f"{group.split}: " if group.split else ""
            if group.is_plotted:
                plot = plots.pair(axes[group], figures, seeds=seeds, signed=table.is_of_differences)
                cells.append(f'<td class="plotted" data-of="{group.error}">{plot}</td>')
            for column in group.columns:
                cells += _cells(column, column.cell(figures), prefix)
                prefix = ""
        rows.append(f"<tr>{''.join(cells)}</tr>\n")
    return f"<tbody>{''.join(rows)}</tbody>"


def _width(group: Group) -> int:
    """Returns how many cells a group has in each row."""
    return group.is_plotted + sum(1 + column.has_beside for column in group.columns)


def _cells(column: Column, cell: Cell, prefix: str) -> Iterator[str]:
    """Yields the cells of a number and the texts beside it; `data-of` names it on narrow pages."""
    if cell.files:
        links = ", ".join(
            f'<a href="{escaped(urllib.parse.quote(path))}" title="{escaped(path)}">{seed}</a>'
            for seed, path in enumerate(cell.files, 1)
        )
        yield f'<td class="beside" colspan="{1 + column.has_beside}"><span>CSV {links}</span></td>'
        return
    name = f' data-of="{prefix}{column.name}"' if cell.text else ""
    yield f'<td class="{column.css_class}"{name}>{_minus(cell.text)}</td>'
    if column.has_beside:
        beside = ", ".join(f"<span>{_minus(text)}</span>" for text in cell.beside)
        yield f'<td class="beside">{beside}</td>'


def _remedy(remedy: Remedy) -> str:
    items = "".join(f"<li>{escaped(line)}</li>" for line in remedy.lacking)
    lacking = f"<details><summary>What is missing</summary><ul>{items}</ul></details>"
    return (
        f'<div class="remedy"><p>{escaped(remedy.purpose)}</p><pre>{escaped(remedy.command)}</pre>'
        f"{lacking if items else ''}</div>\n"
    )


def _runs(made: Report) -> Section:
    of_runs = columns.of_runs(made.runs)
    head = "".join(
        f'<th class="number">{escaped(column.name)}</th>'
        if column.is_number
        else f"<th>{escaped(column.name)}</th>"
        for column in of_runs
    )
    rows = "".join(f"<tr>{''.join(_run_cells(run, of_runs))}</tr>\n" for run in made.runs)
    content = f"""<div class="wide"><table class="runs"><thead><tr>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>
"""
    return Section("runs", "The runs", training_runs.CAPTION, content)


def _run_cells(run: Run, of_runs: Sequence[RunColumn]) -> Iterator[str]:
    for column in of_runs:
        text = column.text(run)
        if column.is_number:
            yield f'<td class="number">{_minus(text)}</td>'
        else:
            yield f"<td>{escaped(text)}</td>"


def _anchor(table: Table) -> str:
    return "-".join(table.title.partition(":")[0].lower().split())


def _minus(text: str) -> str:
    return escaped(text).replace("-", "&minus;")
