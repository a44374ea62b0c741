"""Names of others: what reaches a terminal, a CSV file and a picture."""

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import opened
import pytest
import small_runs
from hypothesis import given
from hypothesis import strategies as st

from vgg_jax import safe_text
from vgg_jax.evaluation import results
from vgg_jax.evaluation.posteriors import Posteriors

ESCAPED = {
    "\x1b[2J": r"\x1b[2J",
    "a\rb\nc\td\x7f": r"a\rb\nc\td\x7f",
    "\x9b31m": r"\x9b31m",
    "a\u202egnp.exe": r"a\u202egnp.exe",
    "a\u2028b": r"a\u2028b",
    "a\udcff": r"a\udcff",
}
KEPT = ["Zürich", "日本\u3000語", "क्\u200dष", "a b", "", "🦓", r"\x1b"]


@pytest.mark.parametrize(("text", "expected"), ESCAPED.items())
def test_what_a_terminal_would_obey_is_escaped(text, expected):
    assert safe_text.printable(text) == expected
    assert safe_text.cell(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays_as_it_is(text):
    assert safe_text.printable(text) == safe_text.cell(text) == text


@given(st.text())
def test_any_text_can_be_printed(text):
    shown = safe_text.printable(text)
    assert not {*map(chr, (*range(32), *range(127, 160)))} & {*shown}
    assert shown.encode().decode() == shown == safe_text.printable(shown)
    assert safe_text.lines(f"{text}\n") == "\n".join(
        map(safe_text.printable, f"{text}\n".split("\n"))
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_cell_is_a_formula(text):
    assert safe_text.cell(text) == f"'{text}"
    assert safe_text.printable(text) == text


def test_no_cell_of_a_result_is_a_formula_or_obeyed(tmp_path):
    names = ("=cmd|' /C calc'!A0", "@SUM(1)", "-1", "+1", "\x1b[31m", "é")
    values = np.full((2, 6), 1 / 6, np.float32)
    made = Posteriors(("=a.jpg", "b\r.jpg"), np.array([-1, -1], np.int32), names, values, {})
    results.write_result(tmp_path / "val.json", made, "title", {})
    with (tmp_path / "val.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["image", "'=a.jpg", r"b\r.jpg"]
    for row in rows[1:]:
        assert not [cell for cell in row if cell[0] in "=+-@"]
    assert all(cell.isprintable() for row in rows for cell in row)


def test_error_messages_are_printed_safely():
    code = (
        "from vgg_jax.system import command_line\nfrom vgg_jax.errors import UserError\n"
        "def main(argv): raise UserError('a \\x1b[2J\\nb \\udcff')\n"
        "command_line.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=small_runs.ROOT, capture_output=True, check=False
    )
    assert done.stderr == b"error: a \\x1b[2J\nb \\udcff\n"


STRANGE = b"a\xff$_{\x1b[31m"


@pytest.fixture(scope="module")
def strange(folder, tmp_path_factory):
    """The images of `folder`, with a class whose name is neither UTF-8 nor harmless."""
    root = shutil.copytree(folder, tmp_path_factory.mktemp("strange") / "images")
    for split in ("train", "val"):
        os.rename(os.fsencode(root / split / "a"), os.fsencode(root / split) + b"/" + STRANGE)
    shutil.copytree(root / "val/b", root / "test")
    return root


SHOWN = r"a\xff$_{\x1b[31m"


def test_a_class_folder_that_is_not_utf_8(strange):
    source = opened.folder(strange, "val")
    assert source.class_names == (SHOWN, "b", "c")
    assert source.name(0) == f"{SHOWN}/0.jpg"
    assert source[0].image == (strange / "val" / os.fsdecode(STRANGE) / "0.jpg").read_bytes()


@pytest.mark.runs
def test_a_run_on_such_a_folder_is_predicted_drawn_and_written(strange, tmp_path):
    run = tmp_path / "run"
    done = small_runs.run_process(*small_runs.one_epoch(strange, run, "--config.eval.method=none"))
    assert done.returncode == 0, done.stderr
    photo = strange / "val" / os.fsdecode(STRANGE) / "0.jpg"
    done = small_runs.run_module(
        "vgg_jax.predict", photo, f"--workdir={run}", f"--map={tmp_path}/map.png"
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN in done.stdout
    assert "\x1b" not in done.stdout
    assert (tmp_path / "map.png").exists()
    done = small_runs.run_module(
        "vgg_jax.main",
        "--mode=eval",
        f"--workdir={run}",
        "--config.data.val_split=test",
        "--config.eval.method=dense",
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN in (run / "eval/test-dense-73.csv").read_text(encoding="utf-8")
