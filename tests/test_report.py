"""The report of a sweep: its numbers, by independent arithmetic, and what is missing."""

import html
import itertools
import re
import shlex

import made_sweeps
import numpy as np
import pytest
from made_sweeps import CLASSES, EVALUATED, LABELS, NAMES, C, N
from ml_collections import ConfigDict
from small_runs import ROOT

from launch.plan import commands, graph, paper
from launch.plan.sweep_spec import Sweep
from launch.report import columns, content, estimates, publish, reading
from launch.report.document import Line, Pair
from launch.report.estimates import Estimate, Seen
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors
from vgg_jax.evaluation.result_key import ResultKey
from vgg_jax.runs import run_config, run_result


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


# Numbers.


@pytest.mark.parametrize("seeds", [1, 3])
def test_errors_and_differences_are_those_of_the_averages(tmp_path, seeds):
    found = reading.read(made_sweeps.sweep_of(tmp_path, seeds=seeds))
    for result in {row.result for row in paper.ROWS if row.result}:
        for k in (1, 5):
            errors = [100 * made_sweeps.wrong(result, k, seed).mean() for seed in range(seeds)]
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
            100 * (made_sweeps.wrong(a, 1, seed).mean() - made_sweeps.wrong(b, 1, seed).mean())
            for seed in range(seeds)
        ]
        difference = found.difference(a, b, 1)
        assert difference.mean == pytest.approx(np.mean(differences))
        assert difference.interval[0] <= difference.mean <= difference.interval[1]
        assert (difference.spread is None) == (seeds == 1)


def test_both_files_have_the_same_numbers_and_each_of_the_papers(tmp_path):
    made_sweeps.sweep_of(tmp_path)
    text, shown = made_sweeps.written(tmp_path)
    rows, found = made_sweeps.cells_of(text), reading.read(Sweep.load(tmp_path))
    plain = html.unescape(re.sub(r"<svg.*?</svg>", "", shown)).replace("\N{MINUS SIGN}", "-")
    for row in paper.ROWS:
        cells = rows[row.label]
        (html_row,) = {
            found_row
            for found_row in re.findall(r"<tr>.*?</tr>", plain)
            if f">{row.label}<" in found_row
        }
        of_paper = [figure for figure in (row.top1, row.top5, row.top5_test) if figure is not None]
        assert [figure for figure in of_paper if f"{figure:.1f}" not in cells.values()] == []
        assert [figure for figure in of_paper if f">{figure:.1f}</td>" not in html_row] == []
        if row.result is None:
            assert (cells["top-1: ours"], cells["top-1: diff."]) == ("", "")
            continue
        error = found.error(row.result, 1)
        low, high = error.interval
        assert cells["top-1: paper"] == f"{row.top1:.1f}"
        assert cells["top-1: ours"] == f"{error.mean:.2f} ({low:.2f} to {high:.2f})"
        assert cells["top-1: diff."] == f"{error.mean - row.top1:+.2f}"
        beside = f"({low:.2f} to {high:.2f})"
        for cell in (f"{error.mean:.2f}</td>", beside, cells["top-1: diff."]):
            assert cell in html_row


def test_the_papers_differences_stand_beside_ours(tmp_path):
    made_sweeps.sweep_of(tmp_path, runs=("a_256", "a_lrn_256", "b_256"))
    rows = made_sweeps.cells_of(made_sweeps.written(tmp_path)[0])
    assert rows["A-LRN/256/256 less A/256/256"]["top-1: paper"] == "+0.1"
    assert rows["B/256/256 less A/256/256"]["top-1: paper"] == "-0.9"
    assert rows["B/256/256 less A/256/256"]["top-1: ours"] != ""
    assert rows["E/256/256 less D/256/256"] == {
        "top-1: paper": "+0.3",
        "top-1: ours": "",
        "top-5: paper": "+0.2",
        "top-5: ours": "",
    }
    assert rows["D, multi-crop & dense less D, multi-crop"]["top-1: paper"] == "-0.2"
    assert rows["2 nets, dense less 7 nets (ILSVRC submission), dense"]["top-1: paper"] == "-0.7"


def test_findings_count_signs_and_clear_signs():
    def line(of_paper, mean, low, high):
        pair = Pair(of_paper, Estimate(mean, 1, (low, high), None))
        return Line("", pair, pair)

    lines = [
        line(-0.5, -1.0, -2.0, -0.1),  # The paper's sign, clearly.
        line(-0.5, -1.0, -2.0, 0.1),
        line(0.5, -1.0, -2.0, -0.1),  # The other sign, clearly.
        line(0.5, 0.0, -1.0, 1.0),
        line(0.0, 1.0, 0.5, 1.5),  # The paper has no sign.
        Line("", Pair(0.5, None), Pair(None, None)),
    ]
    assert content._findings(lines) == (
        "The paper draws conclusions from 4 differences of top-1 error that can be computed here. "
        "2 have the paper's sign; the interval leaves out 0 for 1. 1 has the opposite sign, and "
        "its interval leaves out 0. 1 is 0."
    )
    assert content._findings(lines[1:2]) == (
        "The paper draws conclusions from 1 difference of top-1 error that can be computed here. "
        "1 has the paper's sign, and its interval contains 0."
    )
    assert content._findings(lines[-2:]) == ""


def test_of_five_classes_there_is_no_top_5_error(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=(), test_split="test")
    few = {"labels": LABELS % 5, "class_names": CLASSES[:5]}
    for run in ("d_multiscale", "e_multiscale"):
        made_sweeps.train(sweep, run, 0, num_classes=5)
        for method in ("dense", "multicrop"):
            for q in (256, 384, 512):
                for split in ("validation", "test"):
                    made_sweeps.evaluate(sweep, run, method, q, 0, split=split, **few)
    text, shown = made_sweeps.written(tmp_path)
    rows = made_sweeps.cells_of(text)
    assert rows["2 nets, dense"]["top-1: ours"] != ""
    assert {name for cells in rows.values() for name in cells if "top-5" in name} == {
        "top-5 test: paper",
        "top-5 test: ours",
    }
    assert rows["2 nets, dense"]["top-5 test: ours"] == ""
    assert "Top-1 error on 'validation', percent. With 5 classes, the top-5 error is" in text
    assert '<th class="number">top-1</th>' in shown
    assert '<th class="number">top-5</th>' not in shown


# What is missing.


def _commands(text):
    return [shlex.split(line) for line in text.splitlines() if line.startswith("    python")]


def test_the_report_of_an_empty_root_says_what_makes_each_table(tmp_path):
    text, shown = made_sweeps.written(tmp_path)
    commands = _commands(text)
    sweep = ["python", "-m", "launch.sweep"]
    root = f"--root={tmp_path}"
    assert [*sweep, "--tables=3", root] in commands
    assert [*sweep, "--tables=6", root, "--test_split=SPLIT"] in commands
    assert [*sweep, "--tables=3,4,5,6,7", root] in commands
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
    (first, *_) = _commands(made_sweeps.written(tmp_path)[0])
    assert first[3:] == [
        *("--tables=3", f"--root={tmp_path}", "--mini", "--data=a folder/of mine", "--seeds=2"),
        *("--", "--config.num_epochs=3", "--config.eval.pooling=ceil"),
    ]


def test_what_is_missing_stale_or_damaged_is_named_and_the_rest_is_there(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256", "b_256", "c_256", "c_384"))
    file = ResultKey("validation", "dense", (224,)).posteriors_path(sweep.workdir("b_256", 0))
    file.unlink()
    trained_further = sweep.workdir("c_256", 0)
    result = run_result.read(trained_further)
    run_result.write(trained_further, result | {"last": result["last"] | {"step": 9}})
    (trained_further / "checkpoints" / "9").mkdir()
    damaged = ResultKey("validation", "dense", (384,)).posteriors_path(sweep.workdir("c_384", 0))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    text, shown = made_sweeps.written(tmp_path)
    rows = made_sweeps.cells_of(text)
    assert [rows[label]["top-1: ours"] != "" for label in ("A/256/256", "B/256/256")] == [
        True,
        True,
    ]
    for label in ("B/256/224,256,288", "C/256/256", "C/384/384", "C/384/352,384,416"):
        assert rows[label]["top-1: ours"] == ""
    for line in (
        "b_256: 'validation', dense at Q = 224: not there",
        "c_256: 'validation', dense at Q = 224, 256, 288: of step 7, but the last checkpoint is of "
        "step 9",
        f"c_384: {damaged} is not a complete file of posteriors (BadZipFile: File is not a zip "
        "file). Remove it; the evaluation then makes it again.",
        "a_lrn_256, c_multiscale, d_256, d_384, d_multiscale, e_256, e_384, e_multiscale: "
        "not trained",
    ):
        assert f"- {line}\n" in text
        assert f"<li>{html.escape(line)}</li>" in shown


def test_files_of_two_trainings_leave_a_cell_empty(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("b_256",))
    file = ResultKey("validation", "dense", (288,)).posteriors_path(sweep.workdir("b_256", 0))
    found = posteriors.read(file)
    found.made_by["identity"]["parameters"] = "others"
    found.save(file)
    text, _ = made_sweeps.written(tmp_path)
    rows = made_sweeps.cells_of(text)
    assert (rows["B/256/256"]["top-1: ours"] != "", rows["B/256/224,256,288"]["top-1: ours"]) == (
        True,
        "",
    )
    assert "they were made with different parameters" in text


def test_seeds_that_lack_a_side_are_left_out_and_counted(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256", "a_lrn_256"), seeds=3)
    ResultKey("validation", "dense", (256,)).posteriors_path(sweep.workdir("a_256", 1)).unlink()
    text, shown = made_sweeps.written(tmp_path)
    rows = made_sweeps.cells_of(text)
    assert rows["A/256/256"]["top-1: ours"].endswith(", 2 of 3 seeds")
    assert "seeds" not in rows["A-LRN/256/256"]["top-1: ours"]
    assert rows["A-LRN/256/256 less A/256/256"]["top-1: ours"].endswith(", 2 of 3 seeds")
    assert "seed_1/a_256: 'validation', dense at Q = 256: not there" in text
    kept = [
        100 * (made_sweeps.wrong(a, 1, seed).mean() - made_sweeps.wrong(b, 1, seed).mean())
        for seed in (0, 2)
        for a, b in [(paper.COMPARISONS[0].error_of, paper.COMPARISONS[0].less)]
    ]
    assert rows["A-LRN/256/256 less A/256/256"]["top-1: ours"].startswith(f"{np.mean(kept):+.2f} ")
    assert "2 of 3 seeds" in shown


# What doesn't belong together.


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"names": ("other", *NAMES[1:])}, "images .*differ.*Evaluate both on the same"),
        ({"labels": (LABELS + 1) % C}, "labels .*differ.*Evaluate both on the same"),
        ({"class_names": (*CLASSES[:-1], "z")}, "classes .*differ.*Choose nets of the same"),
        ({"images": "g"}, "image files .*differ.*Evaluate both on the same"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_other_images_and_classes_are_refused(tmp_path, changed, says, seed):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256",), seeds=2)
    if seed == 0:
        made_sweeps.train(sweep, "a_lrn_256", 0)
    made_sweeps.evaluate(sweep, ("a_lrn_256", "a_256")[seed], "dense", 256, seed, **changed)
    with pytest.raises(UserError, match=says):
        publish.write(Sweep.load(tmp_path))
    assert not (tmp_path / "tables.md").exists()


def test_two_forms_of_imagenet_are_reported_whatever_their_order(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=())
    names = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, N + 1)]
    folders = [f"n0000000{label}/{name}" for label, name in zip(LABELS, names, strict=True)]
    order = np.random.default_rng(1).permutation(N)
    forms = {
        "a_256": {"names": tuple(names), "images": "archive"},
        "b_256": {
            "names": tuple(folders[k] for k in order),
            "images": "folders",
            "labels": LABELS[order],
            "values": made_sweeps.values_of("b_256", "dense", 256, 0)[order],
        },
    }
    for run, form in forms.items():
        made_sweeps.train(sweep, run, 0)
        made_sweeps.evaluate(sweep, run, "dense", 256, 0, **form)
    compared = [paper.Result((paper.Part(run, (256,)),), "dense") for run in forms]
    found = reading.read(sweep).difference(*compared, 1)
    wrong = [made_sweeps.wrong(result, 1, 0) for result in compared]
    assert found == estimates.difference([tuple(Seen(names, LABELS, {1: w}) for w in wrong)], 1)


def test_images_without_labels_are_refused_as_validation(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=())
    made_sweeps.train(sweep, "a_256", 0)
    made_sweeps.evaluate(sweep, "a_256", "dense", 256, 0, labels=np.full(N, -1, np.int32))
    with pytest.raises(UserError, match=r"without labels .*--test_split"):
        publish.write(Sweep.load(tmp_path))


def test_runs_of_another_config_are_left_out(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256", "a_lrn_256"))
    c = ConfigDict(commands.train_config(sweep, "a_lrn_256", 0).to_dict())
    c.num_epochs = 3
    run_config.save(c, sweep.workdir("a_lrn_256", 0))
    text, _ = made_sweeps.written(tmp_path)
    assert made_sweeps.cells_of(text)["A/256/256"]["top-1: ours"] != ""
    assert made_sweeps.cells_of(text)["A-LRN/256/256"]["top-1: ours"] == ""
    reason = (
        "a_lrn_256: trained with other settings than this sweep's (num_epochs: 3 there, 74 now)"
    )
    assert f"- {reason}\n" in text


def test_seeds_may_hold_out_images_of_their_own(tmp_path):
    sweep = Sweep(tmp_path, seeds=2, overrides=("--config.data.held_out=60",))
    sweep.save()
    for seed in range(2):
        names = tuple(f"{i}.jpg" for i in range(seed * 20, seed * 20 + N))
        for run in ("a_256", "a_lrn_256"):
            made_sweeps.train(sweep, run, seed)
            made_sweeps.evaluate(
                sweep, run, "dense", 256, seed, split="held_out", names=names, images=f"f{seed}"
            )
    text, _ = made_sweeps.written(tmp_path)
    assert "Each seed holds out images of its own" in text
    assert made_sweeps.cells_of(text)["A-LRN/256/256 less A/256/256"]["top-1: ours"] != ""


# The test split.


def test_of_unlabelled_test_images_there_are_predictions(tmp_path):
    made_sweeps.two_nets(tmp_path, np.full(N, -1, np.int32), seeds=2)
    text, shown = made_sweeps.written(tmp_path)
    rows = made_sweeps.cells_of(text)
    for label, name in (
        ("2 nets, dense", "d_multiscale+e_multiscale-test-dense-256_384_512"),
        ("2 nets, multi-crop & dense", "d_multiscale+e_multiscale-test-both-256_384_512"),
        ("VGG, 1 net, multi-crop & dense", "e_multiscale-test-both-256_384_512"),
    ):
        assert rows[label]["top-5 test: ours"] == "below"
        for folder in ("", "seed_1/"):
            path = f"{folder}fused/{name}.csv"
            assert f"- {label}: `{path}`" in text
            assert f'title="{path}"' in shown
            assert (tmp_path / path).read_text(encoding="utf-8").count("\n") == N + 1
    seven = rows["7 nets (ILSVRC submission), dense"]
    assert (seven["top-5 test: paper"], seven["top-5 test: ours"]) == ("7.3", "")


def test_of_labelled_test_images_there_are_errors(tmp_path):
    made_sweeps.two_nets(tmp_path, LABELS)
    made = content.make(Sweep.load(tmp_path))
    (line,) = (line for line in made.tables[3].lines if line.label == "2 nets, multi-crop")
    mean = np.mean(
        [
            np.mean(
                [made_sweeps.values_of(run, "multicrop", q, 0, "test") for q in (256, 384, 512)],
                axis=0,
            )
            for run in ("d_multiscale", "e_multiscale")
        ],
        axis=0,
    )
    wrong = (np.argsort(-mean, axis=1)[:, :5] != LABELS[:, None]).all(axis=1)
    assert line.top5_test.ours.mean == pytest.approx(100 * wrong.mean())
    assert line.top5_test.predictions == ()


def test_seeds_with_other_test_images_are_refused(tmp_path):
    sweep = made_sweeps.two_nets(tmp_path, LABELS, seeds=2)
    for run in ("d_multiscale", "e_multiscale"):
        for q in (256, 384, 512):
            made_sweeps.evaluate(sweep, run, "dense", q, 1, split="test", images="others")
    with pytest.raises(UserError, match="image files that differ"):
        reading.read(sweep)


def test_what_the_test_split_lacks_is_named(tmp_path):
    made_sweeps.sweep_of(tmp_path, runs=("d_multiscale", "e_multiscale"), test_split="test")
    text, _ = made_sweeps.written(tmp_path)
    assert "- d_multiscale, e_multiscale: 'test', dense at Q = 256, 384, 512: not there\n" in text


# What it says of the runs.


def test_runs_are_listed_with_what_made_them(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256", "d_384"))
    made_sweeps.train(sweep, "d_384", 0, commits=["1234567", "89abcde-dirty"])
    made_sweeps.train(sweep, "b_5x5_256", 0)
    (sweep.workdir("a_256", 0) / "result.json").unlink()
    rows = {
        run.name: {column.name: column.text(run) for column in columns.OF_RUNS}
        for run in content.make(sweep).runs
    }
    assert set(rows) == {"a_256", "b_5x5_256", "d_384"}
    a, b, d = (rows[name] for name in sorted(rows))
    assert a == {
        "run": "a_256",
        "net": "A",
        "S": "256",
        "starts from": "random",
        "ended": "not ended",
        "commits": "unknown",
        "evaluated at": "abc1234",
        "epochs": "",
        "top-1": "",
        "top-5": "",
    }
    assert (b["run"], b["net"], b["S"], b["starts from"]) == ("b_5x5_256", "B-5x5", "256", "a_256")
    assert (b["commits"], b["evaluated at"]) == ("unknown", "unknown")
    assert (b["epochs"], b["top-1"], b["top-5"]) == ("74", "31.25", "11.50")
    assert d["starts from"] == "d_256"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", d["ended"])
    assert (d["commits"], d["evaluated at"]) == ("1234567, 89abcde-dirty", "abc1234")
    text, _ = made_sweeps.written(tmp_path)
    assert "- images: 60 of 'validation', 8 classes\n" in text
    assert "- evaluated on: 8 x TPU v5e\n" in text


def test_miniatures_are_read_at_their_scales_and_said_to_be_so(tmp_path):
    sweep = made_sweeps.sweep_of(tmp_path, runs=("a_256", "b_256"), mini=True)
    assert (tmp_path / "mini_b_256" / "eval" / "validation-dense-82.npz").exists()
    assert sweep.scales(paper.Part("b_256", (288,))) == (82,)
    text, shown = made_sweeps.written(tmp_path)
    assert made_sweeps.cells_of(text)["B/256/224,256,288"]["top-1: ours"] != ""
    for said in ("so that Q = 256 means 73 px", "figures mean nothing"):
        assert said in text
        assert said in shown


def test_on_as_many_images_and_classes_as_imagenets_no_difference_means_nothing():
    sweep = Sweep(None)
    wrong = dict.fromkeys((1, 5), np.zeros(50_000, bool))
    seen = {(paper.ROWS[0].result, 0): Seen(tuple(range(50_000)), np.zeros(50_000), wrong)}
    for split, classes, warned in (
        ("validation", 1000, 0),
        ("validation", 999, 1),
        ("held_out", 1000, 1),
    ):
        names = tuple(map(str, range(classes)))
        found = reading.Found(sweep, split, seen, {}, names, {}, {})
        assert len(content._warnings(found)) == warned


@pytest.mark.parametrize(
    ("override", "fingerprints", "says"),
    [
        ("data.name=folder", "pppp", []),
        ("data.name=folder", "ppqp", ["of seed_1/a_256 differ from those of a_256: "]),
        ("data.held_out=60", "ppqq", []),
        ("data.held_out=60", "ppqr", ["of seed_1/a_lrn_256 differ from those of seed_1/a_256"]),
        (
            "data.name=imagenet",
            "pqpp",
            ["of a_lrn_256 differ from those of a_256, or are another form of them: "],
        ),
    ],
)
def test_nets_of_other_training_images_are_named(tmp_path, override, fingerprints, says):
    sweep = Sweep(tmp_path, seeds=2, overrides=(f"--config.{override}",))
    split = data_settings.evaluated_split(commands.data_config(sweep))
    runs = itertools.product(range(2), ("a_256", "a_lrn_256"))
    for (seed, run), fingerprint in zip(runs, fingerprints, strict=True):
        made_sweeps.train(sweep, run, seed, train_fingerprint=fingerprint)
        made_sweeps.evaluate(sweep, run, "dense", 256, seed, split=split)
    named = [warning for warning in content.make(sweep).warnings if "fingerprint" in warning]
    assert len(named) == len(says)
    for warning, said in zip(named, says, strict=True):
        assert said in warning


def test_every_table_is_read_from_what_the_graph_evaluates(tmp_path):
    sweep = Sweep(tmp_path)
    wanted = [row.result for row in paper.ROWS if row.result]
    evaluated = [task for task in graph.tasks(sweep, wanted) if task.kind == "evaluate"]
    stems = {
        ResultKey("validation", method, (int(q),)).posteriors_path(task.workdir)
        for task in evaluated
        for method, q in re.findall(r"-(dense|multicrop)-(.*)", task.result.stem)
        for q in q.split("_")
    }
    assert stems == {
        ResultKey("validation", method, (q,)).posteriors_path(sweep.workdir(run, 0))
        for run, method, q in EVALUATED
    }
