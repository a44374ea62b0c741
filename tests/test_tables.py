"""The report of a sweep: its numbers by independent arithmetic, what is missing, and both files."""

import html
import html.parser
import json
import re
import shlex
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
from small_runs import ROOT, environment

from launch import estimates, graph, markdown, page, paper, plots, publish, report, results
from launch.estimates import Estimate, Seen
from launch.graph import Sweep
from launch.report import Pair
from vgg_jax import chain, config, summary
from vgg_jax.errors import UserError
from vgg_jax.posteriors import Posteriors

N, C = 60, 8
NAMES = tuple(f"{i % 3}/ünï_{i}.jpg" for i in range(N))
CLASSES = tuple("abcdefgh")
LABELS = np.random.default_rng(0).integers(0, C, N).astype(np.int32)
EVALUATED = dict.fromkeys(
    (part.run, method, q)
    for row in paper.ROWS
    if row.result
    for part in row.result.parts
    for method in config.METHODS[row.result.method]
    for q in part.scales
)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def _values(run, method, q, seed, split="validation"):
    rng = np.random.default_rng([*run.encode(), len(method), q, seed, len(split)])
    scores = np.exp(rng.normal(size=(N, C)) + 1.5 * (np.arange(C) == LABELS[:, None]))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def _evaluate(sweep, run, method, q, seed, *, split="validation", values=None, **changed):
    workdir = sweep.workdir(run, seed)
    images = changed.pop("images", "f")
    identity = {"images": images, "parameters": f"{run}{seed}", "method": method, "scale": q}
    made_by = {"identity": identity, "checkpoint_step": chain.last_step(workdir)}
    made_by |= {"commit": "abc1234", "devices": "8 x TPU v5e", "jax": "0.11.2"}
    known = {"names": NAMES, "labels": LABELS, "class_names": CLASSES} | changed
    if values is None:
        values = _values(run, method, q, seed, split)
    posteriors = Posteriors(**known, values=values, made_by=made_by)
    posteriors.save(summary.path(workdir, split, method, [q], suffix=".npz"))


def _train(sweep, run, seed, **result):
    workdir = sweep.workdir(run, seed)
    c = chain.load_config(workdir.name)[1]
    config.save(c, workdir)
    (workdir / "checkpoints" / "7").mkdir(parents=True, exist_ok=True)
    last = {"epoch": 74, "top1_error": 31.25, "top5_error": 11.5}
    (workdir / "result.json").write_text(json.dumps({"last": last} | result))


def _sweep(root, *, runs=None, **options):
    """Everything that Tables 3 to 7 need on the validation split, or of some runs."""
    sweep = Sweep(root, **options)
    sweep.save()
    for seed in range(sweep.seeds):
        for run in dict.fromkeys(run for run, _, _ in EVALUATED if runs is None or run in runs):
            _train(sweep, run, seed, commits=["abc1234"])
        for run, method, q in EVALUATED:
            if runs is None or run in runs:
                scaled = sweep.scales(paper.Part(run, (q,)))[0]
                split = config.split(results.config_of(sweep))
                _evaluate(sweep, run, method, scaled, seed, split=split)
    return sweep


def _wrong(result, k, seed):
    """Whether each image is wrong: the average, sorted."""
    means = [
        np.mean(
            [
                np.mean([_values(part.run, method, q, seed) for q in part.scales], axis=0)
                for method in config.METHODS[result.method]
            ],
            axis=0,
        )
        for part in result.parts
    ]
    ranked = np.argsort(-np.mean(means, axis=0), axis=1)
    return (ranked[:, :k] != LABELS[:, None]).all(axis=1)


def _cells(text):
    """The rows of all tables of a Markdown text, by the first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in reversed(rows)}


def _written(root):
    return [path.read_text(encoding="utf-8") for path in publish.write(root)]


# Numbers.


@pytest.mark.parametrize("seeds", [1, 3])
def test_errors_and_differences_are_those_of_the_averages(tmp_path, seeds):
    found = results.read(_sweep(tmp_path, seeds=seeds))
    for result in {row.result for row in paper.ROWS if row.result}:
        for k in (1, 5):
            errors = [100 * _wrong(result, k, seed).mean() for seed in range(seeds)]
            error = found.error(result, k)
            assert (error.mean, error.seeds) == (pytest.approx(np.mean(errors)), seeds)
            if seeds > 1:
                variance = sum((e - np.mean(errors)) ** 2 for e in errors) / (seeds - 1)
                assert error.spread == pytest.approx(variance**0.5)
                assert error.interval is None
            else:
                assert error.spread is None
                assert error.interval[0] < errors[0] < error.interval[1] or errors[0] == 0
    for comparison in paper.COMPARISONS:
        a, b = comparison.error_of, comparison.less
        differences = [
            100 * (_wrong(a, 1, seed).mean() - _wrong(b, 1, seed).mean()) for seed in range(seeds)
        ]
        difference = found.difference(a, b, 1)
        assert difference.mean == pytest.approx(np.mean(differences))
        assert difference.interval[0] <= difference.mean <= difference.interval[1]
        assert (difference.spread is None) == (seeds == 1)


def test_both_files_have_the_same_numbers_and_each_of_the_papers(tmp_path):
    _sweep(tmp_path)
    text, shown = _written(tmp_path)
    rows, found = _cells(text), results.read(Sweep.load(tmp_path))
    plain = html.unescape(re.sub(r"<svg.*?</svg>", "", shown)).replace("\N{MINUS SIGN}", "-")
    for row in paper.ROWS:
        cells = rows[row.label]
        (html_row,) = {
            found_row
            for found_row in re.findall(r"<tr>.*?</tr>", plain)
            if f">{row.label}<" in found_row
        }
        of_paper = [figure for figure in (row.top1, row.top5, row.top5_test) if figure is not None]
        assert [figure for figure in of_paper if f"{figure:.1f}" not in cells] == []
        assert [figure for figure in of_paper if f">{figure:.1f}</td>" not in html_row] == []
        if row.result is None:
            assert cells[1:3] == ["", ""]
            continue
        error = found.error(row.result, 1)
        low, high = error.interval
        assert cells[0:3] == [
            f"{row.top1:.1f}",
            f"{error.mean:.2f} ({low:.2f} to {high:.2f})",
            f"{error.mean - row.top1:+.2f}",
        ]
        for cell in (f"{error.mean:.2f}</td>", f"({low:.2f} to {high:.2f})", cells[2]):
            assert cell in html_row


def test_the_papers_differences_stand_beside_ours(tmp_path):
    _sweep(tmp_path, runs=("a_256", "a_lrn_256", "b_256"))
    rows = _cells(_written(tmp_path)[0])
    assert rows["A-LRN/256/256 less A/256/256"][0] == "+0.1"
    assert rows["B/256/256 less A/256/256"][0] == "-0.9"
    assert rows["B/256/256 less A/256/256"][1] != ""
    assert rows["E/256/256 less D/256/256"] == ["+0.3", "", "+0.2", ""]
    assert rows["D, multi-crop & dense less D, multi-crop"][0] == "-0.2"
    assert rows["2 nets, dense less 7 nets (ILSVRC submission), dense"][0] == "-0.7"


def test_findings_count_signs_and_clear_signs():
    def line(of_paper, mean, low, high):
        pair = Pair(of_paper, Estimate(mean, 1, (low, high), None))
        return report.Line("", pair, pair)

    lines = [
        line(-0.5, -1.0, -2.0, -0.1),  # As the paper, and clear.
        line(-0.5, -1.0, -2.0, 0.1),
        line(0.5, -1.0, -2.0, -0.1),  # Clearly the other sign.
        line(0.5, 0.0, -1.0, 1.0),
        line(0.0, 1.0, 0.5, 1.5),  # The paper has none.
        report.Line("", Pair(0.5, None), Pair(None, None)),
    ]
    assert report._findings(lines) == (
        "Of 4 differences of top-1 error that the paper draws conclusions from, 2 have its sign "
        "here, 1 of them with an interval that leaves out 0; with such an interval 1 have the "
        "other sign."
    )
    assert report._findings(lines[-2:]) == ""


# Intervals over seeds.


def _seen(names, wrong):
    return Seen(tuple(names), np.zeros(len(names), np.int32), {1: wrong})


def _bootstrap(clusters, resamples=4000):
    """Plain resampling of images, each a list of (difference, how many seeds saw it)."""
    rng = np.random.default_rng(1)
    values = np.array(clusters)
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))].sum(axis=1)
    return np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])


def test_images_are_drawn_with_what_all_seeds_made_of_them():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.3  # What seeds agree on widens the interval.
    pairs = [
        (
            _seen(range(400), hard & (rng.random(400) < 0.9)),
            _seen(range(400), rng.random(400) < 0.2),
        )
        for _ in range(3)
    ]
    less = sum(a.wrong[1].astype(int) - b.wrong[1] for a, b in pairs)
    expected = _bootstrap([(d, 3) for d in less])
    found = estimates.difference(pairs, 1)
    assert found.interval == pytest.approx(expected, abs=0.4)
    assert found.mean == pytest.approx(100 * less.mean() / 3)
    alone = estimates.difference(pairs[:1], 1)
    assert np.ptp(alone.interval) < 3**0.5 * np.ptp(found.interval) * 0.95


def test_an_image_that_two_seeds_hold_out_is_drawn_for_both():
    rng = np.random.default_rng(0)
    of_seeds = [range(300), range(150, 450)]
    wrong = [[rng.random(300) < p for p in (0.4, 0.3)] for _ in of_seeds]
    pairs = [
        (_seen(names, a), _seen(names, b)) for names, (a, b) in zip(of_seeds, wrong, strict=True)
    ]
    images = {}
    for names, (a, b) in zip(of_seeds, wrong, strict=True):
        for name, less in zip(names, a.astype(int) - b, strict=True):
            so_far = images.get(name, (0, 0))
            images[name] = (so_far[0] + less, so_far[1] + 1)
    found = estimates.difference(pairs, 1)
    assert found.interval == pytest.approx(_bootstrap(list(images.values())), abs=0.5)


@pytest.mark.parametrize(
    ("estimate", "seeds", "texts"),
    [
        (None, 3, ()),
        (Estimate(1.0, 1, (0.5, 1.5), None), 1, ("(+0.50 to +1.50)",)),
        (Estimate(1.0, 1, (-0.001, 1.5), None), 3, ("(0.00 to +1.50)", "1 of 3 seeds")),
        (Estimate(1.0, 2, None, 0.125), 2, ("± 0.12",)),
        (Estimate(1.0, 2, (-1, 3), 0.126), 3, ("(-1.00 to +3.00)", "± 0.13", "2 of 3 seeds")),
    ],
)
def test_what_stands_beside_a_mean(estimate, seeds, texts):
    assert estimates.uncertainty(estimate, seeds, signed=True) == texts


# What is missing.


def _commands(text):
    return [shlex.split(line) for line in text.splitlines() if line.startswith("    python")]


def test_of_an_empty_root_it_says_what_makes_each_table(tmp_path):
    text, shown = _written(tmp_path)
    commands = _commands(text)
    sweep = ["python", "-m", "launch.sweep"]
    root = f"--root={tmp_path}"
    assert [*sweep, "--tables=3", root] in commands
    assert [*sweep, "--tables=6", root, "--test_split=SPLIT"] in commands
    assert [*sweep, "--tables=3,4,5,6,7", root] in commands or [
        *sweep, "--tables=3,4,5,6", root
    ] in commands  # fmt: skip
    assert "a_256, a_lrn_256, b_256, c_256, c_384, c_multiscale, d_256" in text
    assert shlex.join([*sweep, "--tables=3", root]) in html.unescape(shown)
    assert "differences of top-1 error" not in text


def test_the_commands_make_it_as_the_sweep_was_made(tmp_path):
    sweep = Sweep(
        tmp_path,
        mini=True,
        data="a folder/of mine",
        seeds=2,
        overrides=("--config.num_epochs=3", "--config.eval.pooling=ceil"),
    )
    sweep.save()
    (first, *_) = _commands(_written(tmp_path)[0])
    assert first[3:] == [
        *("--tables=3", f"--root={tmp_path}", "--mini", "--data=a folder/of mine", "--seeds=2"),
        *("--", "--config.num_epochs=3", "--config.eval.pooling=ceil"),
    ]


def test_what_is_missing_stale_or_damaged_is_named_and_the_rest_is_there(tmp_path):
    sweep = _sweep(tmp_path, runs=("a_256", "b_256", "c_256", "c_384"))
    file = summary.path(sweep.workdir("b_256", 0), "validation", "dense", [224], suffix=".npz")
    file.unlink()
    (sweep.workdir("c_256", 0) / "checkpoints" / "9").mkdir()
    damaged = summary.path(sweep.workdir("c_384", 0), "validation", "dense", [384], suffix=".npz")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    text, shown = _written(tmp_path)
    rows = _cells(text)
    assert [rows[label][1] != "" for label in ("A/256/256", "B/256/256")] == [True, True]
    for label in ("B/256/224,256,288", "C/256/256", "C/384/384", "C/384/352,384,416"):
        assert rows[label][1] == ""
    for line in (
        "b_256: 'validation', dense at Q = 224: not there",
        "c_256: 'validation', dense at Q = 224, 256, 288: of step 7, the last checkpoint of step 9",
        f"c_384: {damaged} is no whole file of posteriors (BadZipFile). Remove it; the evaluation "
        "then makes it again.",
        "a_lrn_256, c_multiscale, d_256, d_384, d_multiscale, e_256, e_384, e_multiscale: "
        "not trained",
    ):
        assert f"- {line}\n" in text
        assert f"<li>{html.escape(line)}</li>" in shown


def test_files_of_two_trainings_leave_a_cell_empty(tmp_path):
    sweep = _sweep(tmp_path, runs=("b_256",))
    file = summary.path(sweep.workdir("b_256", 0), "validation", "dense", [288], suffix=".npz")
    with np.load(file) as archive:
        entries = dict(archive)
    made_by = json.loads(entries["made_by"].item())
    made_by["identity"]["parameters"] = "others"
    np.savez(file, **entries | {"made_by": np.array(json.dumps(made_by))})
    text, _ = _written(tmp_path)
    rows = _cells(text)
    assert (rows["B/256/256"][1] != "", rows["B/256/224,256,288"][1]) == (True, "")
    assert "they were made with different parameters" in text


def test_seeds_that_lack_a_side_are_left_out_and_counted(tmp_path):
    sweep = _sweep(tmp_path, runs=("a_256", "a_lrn_256"), seeds=3)
    summary.path(sweep.workdir("a_256", 1), "validation", "dense", [256], suffix=".npz").unlink()
    text, shown = _written(tmp_path)
    rows = _cells(text)
    assert rows["A/256/256"][1].endswith(", 2 of 3 seeds")
    assert "seeds" not in rows["A-LRN/256/256"][1]
    assert rows["A-LRN/256/256 less A/256/256"][1].endswith(", 2 of 3 seeds")
    assert "seed_1/a_256: 'validation', dense at Q = 256: not there" in text
    kept = [
        100 * (_wrong(a, 1, seed).mean() - _wrong(b, 1, seed).mean())
        for seed in (0, 2)
        for a, b in [(paper.COMPARISONS[0].error_of, paper.COMPARISONS[0].less)]
    ]
    assert rows["A-LRN/256/256 less A/256/256"][1].startswith(f"{np.mean(kept):+.2f} ")
    assert "2 of 3 seeds" in shown


# What doesn't belong together.


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"names": ("other", *NAMES[1:])}, "images"),
        ({"labels": (LABELS + 1) % C}, "labels"),
        ({"class_names": (*CLASSES[:-1], "z")}, "classes"),
        ({"images": "g"}, "image files"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_other_images_and_classes_are_refused(tmp_path, changed, what, seed):
    sweep = _sweep(tmp_path, runs=("a_256",), seeds=2)
    if seed == 0:
        _train(sweep, "a_lrn_256", 0)
    _evaluate(sweep, ("a_lrn_256", "a_256")[seed], "dense", 256, seed, **changed)
    with pytest.raises(UserError, match=rf"{what} .*differ.*Evaluate both on the same"):
        publish.write(tmp_path)
    assert not (tmp_path / "tables.md").exists()


def test_images_without_labels_are_refused_as_validation(tmp_path):
    sweep = _sweep(tmp_path, runs=())
    _train(sweep, "a_256", 0)
    _evaluate(sweep, "a_256", "dense", 256, 0, labels=np.full(N, -1, np.int32))
    with pytest.raises(UserError, match=r"without labels .*--test_split"):
        publish.write(tmp_path)


def test_seeds_may_hold_out_images_of_their_own(tmp_path):
    sweep = Sweep(tmp_path, seeds=2, overrides=("--config.data.held_out=60",))
    sweep.save()
    for seed in range(2):
        names = tuple(f"{i}.jpg" for i in range(seed * 20, seed * 20 + N))
        for run in ("a_256", "a_lrn_256"):
            _train(sweep, run, seed)
            _evaluate(
                sweep, run, "dense", 256, seed, split="held_out", names=names, images=f"f{seed}"
            )
    text, _ = _written(tmp_path)
    assert "Each seed holds out images of its own" in text
    assert _cells(text)["A-LRN/256/256 less A/256/256"][1] != ""


# The test split.


def _sweep_two_nets(root, labels, seeds=1):
    sweep = _sweep(root, runs=("d_multiscale", "e_multiscale"), test_split="test", seeds=seeds)
    for seed in range(seeds):
        for run in ("d_multiscale", "e_multiscale"):
            for method in ("dense", "multicrop"):
                for q in (256, 384, 512):
                    _evaluate(sweep, run, method, q, seed, split="test", labels=labels)
    return sweep


def test_of_unlabelled_test_images_there_are_predictions(tmp_path):
    _sweep_two_nets(tmp_path, np.full(N, -1, np.int32), seeds=2)
    text, shown = _written(tmp_path)
    rows = _cells(text)
    for label, name in (
        ("2 nets, dense", "d_multiscale+e_multiscale-test-dense-256_384_512"),
        ("2 nets, multi-crop & dense", "d_multiscale+e_multiscale-test-both-256_384_512"),
        ("VGG, 1 net, multi-crop & dense", "e_multiscale-test-both-256_384_512"),
    ):
        assert rows[label][-1] == "below"
        for folder in ("", "seed_1/"):
            path = f"{folder}fused/{name}.csv"
            assert f"- {label}: `{path}`" in text
            assert f'title="{path}"' in shown
            assert (tmp_path / path).read_text(encoding="utf-8").count("\n") == N + 1
    assert rows["7 nets (ILSVRC submission), dense"][-2:] == ["7.3", ""]


def test_of_labelled_test_images_there_are_errors(tmp_path):
    _sweep_two_nets(tmp_path, LABELS)
    made = report.make(Sweep.load(tmp_path))
    (line,) = (line for line in made.tables[3].lines if line.label == "2 nets, multi-crop")
    mean = np.mean(
        [
            np.mean([_values(run, "multicrop", q, 0, "test") for q in (256, 384, 512)], axis=0)
            for run in ("d_multiscale", "e_multiscale")
        ],
        axis=0,
    )
    wrong = (np.argsort(-mean, axis=1)[:, :5] != LABELS[:, None]).all(axis=1)
    assert line.top5_test.ours.mean == pytest.approx(100 * wrong.mean())
    assert line.predictions == ()


def test_what_the_test_split_lacks_is_named(tmp_path):
    _sweep(tmp_path, runs=("d_multiscale", "e_multiscale"), test_split="test")
    text, _ = _written(tmp_path)
    assert "- d_multiscale, e_multiscale: 'test', dense at Q = 256, 384, 512: not there\n" in text


# What it says of the runs.


def test_runs_are_listed_with_what_made_them(tmp_path):
    sweep = _sweep(tmp_path, runs=("a_256", "d_384"))
    _train(sweep, "d_384", 0, commits=["1234567", "89abcde-dirty"])
    _train(sweep, "b_5x5_256", 0)
    (sweep.workdir("a_256", 0) / "result.json").unlink()
    rows = {line.name: line for line in report.make(sweep).runs}
    assert set(rows) == {"a_256", "b_5x5_256", "d_384"}
    a, b, d = (rows[name].texts + rows[name].numbers for name in sorted(rows))
    assert a == ("a_256", "A", "256", "random", "not ended", "unknown", "abc1234", "", "", "")
    assert b[:4] == ("b_5x5_256", "B-5x5", "256", "a_256")
    assert b[5:] == ("unknown", "unknown", "74", "31.25", "11.50")
    assert d[3] == "d_256"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", d[4])
    assert d[5:7] == ("1234567, 89abcde-dirty", "abc1234")
    text, _ = _written(tmp_path)
    assert "- images: 60 of 'validation', 8 classes\n" in text
    assert "- evaluated on: 8 x TPU v5e\n" in text


def test_miniatures_are_read_at_their_scales_and_said_to_be_so(tmp_path):
    sweep = _sweep(tmp_path, runs=("a_256", "b_256"), mini=True)
    assert (tmp_path / "mini_b_256" / "eval" / "validation-dense-82.npz").exists()
    assert sweep.scales(paper.Part("b_256", (288,))) == (82,)
    text, shown = _written(tmp_path)
    assert _cells(text)["B/256/224,256,288"][1] != ""
    for said in ("so that Q = 256 means 73 px", "figures mean nothing"):
        assert said in text
        assert said in shown


def test_of_as_many_images_and_classes_as_imagenet_has_no_difference_means_nothing():
    sweep = Sweep(None)
    wrong = dict.fromkeys((1, 5), np.zeros(50_000, bool))
    seen = {(paper.ROWS[0].result, 0): Seen(tuple(range(50_000)), np.zeros(50_000), wrong)}
    for classes, warned in ((1000, 0), (999, 1)):
        names = tuple(map(str, range(classes)))
        found = results.Results(sweep, "validation", seen, {}, names, {}, {})
        assert len(report._warnings(found)) == warned


# The files.


class _Parsed(html.parser.HTMLParser):
    """The tags and attributes of a page, of which every tag is closed."""

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
    _sweep_two_nets(tmp_path, np.full(N, -1, np.int32))
    _, shown = _written(tmp_path)
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
    text, shown = _written(tmp_path)
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
    # The paper's, at the left end, and what is as far right as the axis goes.
    assert axis.place(axis.low) == "5.00%"
    assert axis.place(74.0) == "95.00%"


def test_markdown_lines_up(tmp_path):
    _sweep(tmp_path, runs=("a_256", "b_256"))
    text = markdown.write(report.make(Sweep.load(tmp_path)))
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
    assert "\n\n\n" not in text


def _tables(*args):
    # Where Python's encoding is ASCII, as under a bare cron or container.
    ascii_alone = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "launch.tables", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(**ascii_alone),
    )


def test_the_command_writes_both_files_and_says_where(tmp_path):
    _sweep(tmp_path, runs=("a_256",))
    done = _tables(f"--root={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/tables.md\n{tmp_path}/tables.html\n"
    made = report.make(Sweep.load(tmp_path))
    assert (tmp_path / "tables.md").read_text(encoding="utf-8") == markdown.write(made)
    assert (tmp_path / "tables.html").read_text(encoding="utf-8") == page.write(made)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--root={}/none"], "There is no folder"), (["--root={}", "3"], "Unknown arguments: 3")],
)
def test_what_it_cannot_do_is_one_line(tmp_path, arguments, says):
    done = _tables(*(argument.format(tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {says}")
    assert done.stderr.count("\n") == 1


def test_no_jax_is_needed():
    code = "import sys; import launch.tables; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


def test_every_table_is_read_from_what_the_graph_evaluates(tmp_path):
    sweep = Sweep(tmp_path)
    wanted = [row.result for row in paper.ROWS if row.result]
    evaluated = [task for task in graph.tasks(sweep, wanted) if task.kind == "evaluate"]
    stems = {
        summary.path(task.workdir, "validation", method, [int(q)], suffix=".npz")
        for task in evaluated
        for method, q in re.findall(r"-(dense|multicrop)-(.*)", task.result.stem)
        for q in q.split("_")
    }
    assert stems == {
        summary.path(sweep.workdir(run, 0), "validation", method, [q], suffix=".npz")
        for run, method, q in EVALUATED
    }
