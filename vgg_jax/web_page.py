"""A web page as one HTML file, which needs no network and no scripts."""

import html
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from vgg_jax import safe_text

_STYLE = pathlib.Path(__file__).with_suffix(".css")


class Section(NamedTuple):
    """A part of a page.

    Attributes:
      anchor: Its name in links to it.
      title: Its heading.
      caption: One or several sentences below the heading.
      content: HTML.
    """

    anchor: str
    title: str
    caption: str
    content: str


def page(
    title: str,
    about: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    *,
    style: pathlib.Path,
    notes: str = "",
    legend: str = "",
) -> str:
    """Returns a page.

    Args:
      title: The heading.
      about: The sentence below it.
      facts: Names and values, which stand above the sections.
      sections: The parts of the page.
      style: A style sheet, which adds to that of all pages.
      notes: HTML between the sentence and the facts.
      legend: HTML below the links to the sections.
    """
    named = "".join(f"<div><dt>{escaped(k)}</dt><dd>{escaped(v)}</dd></div>" for k, v in facts)
    links = "".join(f'<a href="#{part.anchor}">{escaped(part.title)}</a>' for part in sections)
    below = f'<p class="legend">{legend}</p>\n' if legend else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}{style.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="about">{escaped(about)}</p>
{notes}<dl class="facts">{named}</dl>
<nav>{links}</nav>
{below}</header>
<main>
{"".join(map(_section, sections))}</main>
</body>
</html>
"""


def _section(part: Section) -> str:
    return f"""<section id="{part.anchor}">
<h2>{escaped(part.title)}</h2>
<p class="caption">{escaped(part.caption)}</p>
{part.content}</section>
"""


def escaped(text: str) -> str:
    """Returns a text of others as HTML, with control characters escaped."""
    return html.escape(safe_text.lines(text))
