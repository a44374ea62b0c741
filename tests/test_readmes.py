"""The READMEs: their links lead somewhere, and the keys and commands that they name exist.

`tests/run_readme.py` runs their blocks."""

import re
import subprocess
import sys

import pytest
from small_runs import ROOT

from vgg_jax import base_config
from vgg_jax.runs import run_config

FOLDERS = (".", "configs", "launch", "notebooks", "notebooks/data", "vgg_jax")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def anchors(page):
    """Returns GitHub's anchors of a page's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for file, heading in links:
        target = (page.parent / file).resolve() if file else page
        if target.is_dir():
            target /= "README.md"
        assert target.exists(), f"{page}: {file}"
        assert not heading or heading in anchors(target), f"{page}: {file}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_that_a_page_sets_exist(page):
    keys = {*run_config.flat(base_config.get_config()), "halving.every_epochs"}
    named = set(re.findall(r"--config\.([a-z][a-z0-9_.]*[a-z0-9])=", page.read_text()))
    assert named <= keys


def test_the_first_page_is_short_and_begins_with_two_commands_that_set_up():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    first = text.split("```sh\n")[1].split("```")[0].splitlines()
    assert len(first) == 2
    assert first[0].startswith("pip install -e . && python -m vgg_jax.main --config=")


def test_the_runner_stops_at_a_block_that_fails_and_lists_those_that_are_marked(tmp_path):
    (tmp_path / "runs/quickstart").mkdir(parents=True)
    (tmp_path / "runs/quickstart/result.json").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\necho first\n```\n\n<!-- needs a GPU -->\n```sh\nexit 1\n```\n"
        "```python\nleft = 6\n```\n```python\nprint(7 * left)\n```\n"
    )
    command = [sys.executable, ROOT / "tests/run_readme.py", "--here", "page.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "first" in done.stdout
    assert "42" in done.stdout
    assert "page.md:6 was skipped: needs a GPU" in done.stdout
    page.write_text("```sh\nfalse\ntrue\n```\n")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
