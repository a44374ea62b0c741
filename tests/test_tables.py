"""The report's two files, and the command `launch.tables`, which writes them."""

import html
import html.parser
import re
import urllib.parse

import made_sweeps
import numpy as np
import pytest
import small_runs
from made_sweeps import N

from launch.plan.sweep_spec import Sweep
from launch.report import content, html_page, markdown, plots
from launch.report.document import Pair
from launch.report.estimates import Estimate


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(small_runs.ROOT)


class _Parsed(html.parser.HTMLParser):
    """The tags and attributes of a page. It checks that every tag is closed."""

    void = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self._open = set(), [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_the_page_needs_nothing_but_itself(tmp_path):
    made_sweeps.two_nets(tmp_path, np.full(N, -1, np.int32))
    _, shown = made_sweeps.written(tmp_path)
    parsed = _Parsed(shown)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object", "base"}
    links = [value for name, value in parsed.attributes if name in ("href", "src")]
    anchors = {value for name, value in parsed.attributes if name == "id"}
    for link in links:
        assert (
            link[1:] in anchors
            if link[0] == "#"
            else (tmp_path / urllib.parse.unquote(link)).exists()
        )
    for outside in ("http:", "https:", "//", "@import", "url("):
        assert outside not in shown.replace("<!doctype html>", "")
    assert len(shown) < 300_000


def test_text_is_shown_as_it_is(tmp_path):
    hostile = "<script>alert('x')</script> & | `y` *z* [a](b)"
    Sweep(tmp_path, data=hostile).save()
    text, shown = made_sweeps.written(tmp_path)
    assert "<script" not in shown
    assert html.escape(hostile) in shown
    (fact,) = (line for line in text.splitlines() if line.startswith("- data"))
    unescaped = re.sub(r"\\(.)", r"\1", fact)
    assert unescaped == f"- data: folder {hostile}"
    assert not re.search(r"(?<!\\)[<|`*]|(?<!\\)\]\(", fact)


def test_nothing_is_drawn_outside_its_axis():
    pairs = [
        Pair(29.6, Estimate(30.0, 1, (12.5, 61.0), None)),
        Pair(None, Estimate(70.0, 3, None, 4.0)),
        Pair(0.1, None),
        Pair(None, None),
    ]
    for some in (pairs, pairs[:1], pairs[2:3], pairs[3:]):
        axis = plots.Axis.of(some, with_zero=False)
        places = [
            float(place)
            for shown in some
            for place in re.findall(
                r'"([-\d.]+)%"', plots.pair(axis, shown, seeds=3, signed=False).replace("100%", "")
            )
        ]
        assert all(0 <= place <= 100 for place in places)
        assert 1 <= len(axis.ticks) <= 5
    axis = plots.Axis.of(pairs, with_zero=True)
    assert 0 in axis.ticks
    # The ends of the axis, 0 and 70 + 4, have a margin of 5%.
    assert axis.place(axis.low) == "5.00%"
    assert axis.place(74.0) == "95.00%"


def test_markdown_lines_up(tmp_path):
    made_sweeps.sweep_of(tmp_path, runs=("a_256", "b_256"))
    text = markdown.write(content.make(Sweep.load(tmp_path)))
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
    assert "\n\n\n" not in text


def _tables(*args):
    return small_runs.run_module("launch.tables", *args, **small_runs.ASCII_ALONE)


def test_the_command_writes_both_files_and_says_where(tmp_path):
    made_sweeps.sweep_of(tmp_path, runs=("a_256",))
    done = _tables(f"--root={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/tables.md\n{tmp_path}/tables.html\n"
    made = content.make(Sweep.load(tmp_path))
    assert (tmp_path / "tables.md").read_text(encoding="utf-8") == markdown.write(made)
    assert (tmp_path / "tables.html").read_text(encoding="utf-8") == html_page.write(made)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--root={}/none"], "There is no folder"),
        (["--root={}", "3"], "Unknown arguments: 3"),
        (["--root={}"], "{} holds no sweep: neither a sweep.json nor a run of the paper, such as "),
    ],
)
def test_what_it_cannot_do_is_one_line(tmp_path, arguments, says):
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart/config.json").touch()  # A run, but none of the paper's.
    done = _tables(*(argument.format(tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {says.format(tmp_path)}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart"]


def test_no_jax_is_needed():
    code = "import sys; import launch.tables; print('jax' in sys.modules)"
    done = small_runs.run_python("-c", code)
    assert done.stdout.split() == ["False"], done.stderr
