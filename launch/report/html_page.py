"""Writes a report as a page of HTML in one file: no network, no scripts."""

import html
import pathlib
import urllib.parse
from collections.abc import Iterable

from launch.report import content, plots, training_runs
from launch.report.content import Line, Pair, Remedy, Report, Table
from launch.report.estimates import number, uncertainty
from launch.report.plots import Axis

_STYLE = pathlib.Path(__file__).with_name("page.css")
_COLUMNS = ("top1", "top5")
_TEST = "test: "
_NAMES = {"top1": "top-1", "top5": "top-5"}


def write(made: Report) -> str:
    """Returns the page."""
    tables = (*made.tables, made.comparisons)
    links = [(_anchor(table), table.title) for table in tables] + [("runs", "The runs")]
    warnings = "".join(f'<p class="warning">{_text(warning)}</p>' for warning in made.warnings)
    findings = f'<p class="findings">{_text(made.findings)}</p>' if made.findings else ""
    facts = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in made.facts)
    contents = "".join(f'<a href="#{anchor}">{_text(title)}</a>' for anchor, title in links)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(content.TITLE)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{_text(content.TITLE)}</h1>
<p class="about">{_text(content.ABOUT)}</p>
{warnings}{findings}
<dl class="facts">{facts}</dl>
<nav>{contents}</nav>
<p class="legend">{plots.key()} {_text(made.legend)}</p>
</header>
<main>
{"".join(_section(table, made.seeds) for table in tables)}{_runs(made)}</main>
</body>
</html>
"""


def _section(table: Table, seeds: int) -> str:
    axes = {
        name: Axis.of(
            (getattr(line, name) for line in table.lines), with_zero=table.is_of_differences
        )
        for name in _COLUMNS
    }
    remedies = "".join(map(_remedy, table.remedies))
    return f"""<section id="{_anchor(table)}">
<h2>{_text(table.title)}</h2>
<p class="caption">{_text(table.caption)}</p>
<table class="figures">
<thead>{_head(table, axes)}</thead>
{_body(table, axes, seeds)}</table>
{remedies}</section>
"""


def _head(table: Table, axes: dict[str, Axis]) -> str:
    span = 4 if table.is_of_differences else 5
    groups, columns = ["<td></td>"], ["<td></td>"]
    for name in _COLUMNS:
        groups.append(f'<th class="group" colspan="{span}">{_NAMES[name]}</th>')
        columns.append(f'<th class="plotted">{plots.scale(axes[name])}</th>')
        columns.append('<th class="number">paper</th><th class="number">ours</th><td></td>')
        columns += [] if table.is_of_differences else ['<th class="number less">diff.</th>']
    if table.has_test:
        groups.append('<th class="group" colspan="3">top-5, test</th>')
        columns.append('<th class="number">paper</th><th class="number">ours</th><td></td>')
    return f'<tr class="groups">{"".join(groups)}</tr><tr>{"".join(columns)}</tr>'


def _body(table: Table, axes: dict[str, Axis], seeds: int) -> str:
    rows, topic = [], ""
    width = 9 if table.is_of_differences else 14 if table.has_test else 11
    for line in table.lines:
        if line.topic != topic:
            topic = line.topic
            rows.append(
                f'<tr class="topic"><th colspan="{width}" scope="rowgroup">{_text(topic)}</th></tr>'
            )
        cells = [f'<th class="label" scope="row">{_text(line.label)}</th>']
        for name in _COLUMNS:
            cells += _figures(getattr(line, name), axes[name], name, table, seeds)
        if table.has_test:
            cells += _test(line, seeds)
        rows.append(f"<tr>{''.join(cells)}</tr>\n")
    return f"<tbody>{''.join(rows)}</tbody>"


def _figures(pair: Pair, axis: Axis, name: str, table: Table, seeds: int) -> Iterable[str]:
    signed = table.is_of_differences
    plot = plots.pair(axis, pair, seeds=seeds, signed=signed)
    yield f'<td class="plotted" data-of="{_NAMES[name]}">{plot}</td>'
    yield from _numbers(pair, seeds, signed)
    if not signed:
        yield _cell("number less", number(pair.less, signed=True), "diff.")


def _numbers(pair: Pair, seeds: int, signed: bool, of: str = "") -> Iterable[str]:
    ours = pair.ours
    yield _cell("number theirs", number(pair.paper, digits=1, signed=signed), f"{of}paper")
    yield _cell("number ours", number(ours.mean if ours else None, signed=signed), "ours")
    beside = (f"<span>{_minus(text)}</span>" for text in uncertainty(ours, seeds, signed=signed))
    yield f'<td class="beside">{", ".join(beside)}</td>'


def _test(line: Line, seeds: int) -> Iterable[str]:
    if not line.predictions:
        yield from _numbers(line.top5_test, seeds, False, _TEST)
        return
    links = ", ".join(
        f'<a href="{_text(urllib.parse.quote(path))}" title="{_text(path)}">{seed}</a>'
        for seed, path in enumerate(line.predictions, 1)
    )
    yield _cell("number theirs", number(line.top5_test.paper, digits=1), f"{_TEST}paper")
    yield f'<td class="beside" colspan="2"><span>CSV {links}</span></td>'


def _cell(kind: str, text: str, of: str = "") -> str:
    name = f' data-of="{of}"' if of and text else ""
    return f'<td class="{kind}"{name}>{_minus(text)}</td>'


def _remedy(remedy: Remedy) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in remedy.lacking)
    lacking = f"<details><summary>What is missing</summary><ul>{items}</ul></details>"
    return (
        f'<div class="remedy"><p>{_text(remedy.purpose)}</p><pre>{_text(remedy.command)}</pre>'
        f"{lacking if items else ''}</div>\n"
    )


def _runs(made: Report) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in training_runs.HEADER)
    head += "".join(f'<th class="number">{_text(name)}</th>' for name in training_runs.NUMBERS)
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{_text(cell)}</td>" for cell in run.texts)
        + "".join(_cell("number", cell) for cell in run.numbers)
        + "</tr>\n"
        for run in made.runs
    )
    return f"""<section id="runs">
<h2>The runs</h2>
<p class="caption">{_text(training_runs.CAPTION)}</p>
<div class="wide"><table class="runs"><thead><tr>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>
</section>
"""


def _anchor(table: Table) -> str:
    return "-".join(table.title.partition(":")[0].lower().split())


def _minus(text: str) -> str:
    return _text(text).replace("-", "&minus;")


def _text(text: str) -> str:
    return html.escape(text)
