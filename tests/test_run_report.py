"""The report of a run: one page that shows what was evaluated, safely and without computing."""

import dataclasses
import html.parser
import re
import shutil

import numpy as np
import pytest

from configs import a_256
from vgg_jax import main
from vgg_jax.data import opening
from vgg_jax.errors import UserError
from vgg_jax.evaluation import evaluate, posteriors
from vgg_jax.evaluation.restriction import Restriction
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.run_report import report
from vgg_jax.runs import run_config

pytestmark = pytest.mark.runs

SECTIONS = ["results", "learning", "classes", "confusion", "errors", "calibration", "times"]


@pytest.fixture
def workdir(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "run")
    (copy / "report.html").unlink()
    return copy


def written(workdir, **changes):
    key = dataclasses.replace(ResultKey.from_config(run_config.existing(workdir)), **changes)
    report.write(workdir, key, workdir / "report.html")
    return (workdir / "report.html").read_text()


def sections(page):
    return re.findall(r'<section id="(\w+)">', page)


def rename_class(workdir, name):
    """Gives the first class another name in all posteriors."""
    for path in (workdir / "eval").glob("*.npz"):
        found = posteriors.read(path)
        dataclasses.replace(found, class_names=(name, *found.class_names[1:])).save(path)


def test_it_has_all_sections_and_needs_nothing_else(workdir):
    page = written(workdir)
    assert sections(page) == SECTIONS
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{5})', page)
    assert {*sources} <= {"data:", *(f"#{name}"[:5] for name in SECTIONS)}
    open_tags = []

    class Balanced(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balanced().feed(page)
    assert not open_tags


def test_its_errors_are_the_results_own(workdir):
    page = written(workdir)
    lines = re.findall(
        r"(dense|multicrop|both), Q = \d+: top-1 error ([\d.]+)", (workdir / "output").read_text()
    )
    assert len(lines) == 3
    for method, error in lines:
        row = re.search(rf"<td>{method}</td>.*?</tr>", page)[0]
        assert f">{error} (" in row


def test_its_times_name_the_split_the_checkpoint_and_the_scale(workdir):
    results, times = (
        [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", part)]
        for name in ("results", "times")
        for part in re.findall(rf'<section id="{name}">.*?</section>', written(workdir), re.DOTALL)
    )
    evaluated = {(split, method, q, step) for split, method, q, _, step, *_ in results}
    timed = {(split, method, q, step) for split, method, q, _, step, *_ in times}
    assert timed == {row for row in evaluated if row[1] != "both"}


def test_settings_that_are_not_standard_stand_beside_the_method(workdir):
    """Their posteriors are the standard ones, renamed, because only the words matter here."""
    found = posteriors.read(workdir / "eval/val-dense-73.npz")
    found.made_by["identity"] |= {"pooling": "ceil", "dtype": "bfloat16"}
    key = ResultKey("val", "dense", (73,), Variant(pooling="ceil", dtype="bfloat16"))
    found.save(key.posteriors_path(workdir))
    line = evaluate._write_result(key, {"dense": {73: found}}, workdir, workdir, 2)
    assert line.startswith("dense (ceil-bfloat16), Q = 73: top-1 error ")
    page = written(workdir, method="dense", variant=key.variant)
    assert "images of &#x27;val&#x27; by dense (ceil-bfloat16), Q = 73 px." in page
    for name in ("results", "times"):
        (section,) = re.findall(rf'<section id="{name}">.*?</section>', page, re.DOTALL)
        for method in ("dense", "dense (ceil-bfloat16)"):
            assert section.count(f"<td>{method}</td>") == 1


def test_names_of_classes_cannot_become_markup(workdir):
    rename_class(workdir, "<script>alert(1)</script>\x1b[31m")
    page = written(workdir)
    assert "<script" not in page
    assert r"\x1b" in page


def test_images_that_are_gone_are_named_in_a_table(workdir, folder):
    c = run_config.existing(workdir)
    c.data.dir = "/nowhere"
    run_config.save(c, workdir)
    assert 'class="photo"' in written(workdir)  # The posteriors say where they were.
    for path in (workdir / "eval").glob("*.npz"):
        found = posteriors.read(path)
        found.made_by["data"]["dir"] = "/nowhere"
        found.save(path)
    page = written(workdir)
    assert "They can&#x27;t be shown here. The images of the run in" in page
    assert 'class="photo"' not in page
    assert sections(page) == SECTIONS


def test_unlabelled_images_have_no_errors(workdir):
    for path in (workdir / "eval").glob("*.npz"):
        found = posteriors.read(path)
        dataclasses.replace(found, labels=np.full_like(found.labels, -1)).save(path)
    page = written(workdir)
    assert sections(page) == ["results", "learning", "times"]


def test_an_evaluation_of_an_earlier_checkpoint_ends_well_without_a_report(workdir, capsys):
    """A run that trains meanwhile saves another one before the evaluation has ended."""
    shutil.copytree(workdir / "checkpoints/2", workdir / "checkpoints/3")
    (workdir / "result.json").unlink()
    c = run_config.existing(workdir)
    data = opening.scanned(c, opening.for_evaluation(c))
    main._write_report(c, ResultKey.from_config(c), workdir, data)
    assert "No report was written: " in capsys.readouterr().out
    assert not (workdir / "report.html").exists()


@pytest.mark.parametrize(
    ("split", "classes", "name"),
    [
        ("val", "all", "report.html"),
        ("val", "present", "report-val-present.html"),
        ("imagenet-a", "all", "report-imagenet-a.html"),
        ("imagenet-a", "present", "report-imagenet-a-present.html"),
    ],
)
def test_reports_of_other_images_have_other_names(split, classes, name):
    key = ResultKey(split, "dense", (73,), restriction=Restriction(classes))
    assert report.file_name(key, "val") == name


def test_without_posteriors_it_names_the_command_that_makes_them(workdir):
    with pytest.raises(
        UserError, match=r"(?s)tencrop.*--mode=eval .*--config\.eval\.method=tencrop"
    ):
        written(workdir, method="tencrop")
    assert not (workdir / "report.html").exists()


@pytest.mark.parametrize(("num_images", "is_advised"), [(32, False), (1000, True)])
def test_the_best_checkpoint_is_advised_where_chance_does_not_explain_it(
    tmp_path, capsys, num_images, is_advised
):
    c = a_256.get_config()
    last = {"epoch": c.num_epochs, "step": 9, "top5_error": 1.0, "num_images": num_images}
    best = {"step": 4, "top1_error": 12.5}
    main._print_result(c, tmp_path, {"last": {**last, "top1_error": 31.25}, "best": best})
    assert ("To take the best" in capsys.readouterr().out) == is_advised
