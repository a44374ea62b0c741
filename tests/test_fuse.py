"""Fusions of runs: the average of the posteriors that their evaluations saved."""

import csv
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import small_runs

from configs import mini
from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, methods
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.runs import params_digest, run_config, run_result, saved_steps
from vgg_jax.storage import sealed_json

CLASSES = ("ant", "größe", "zebra, plains")
NAMES = ("a photo.jpg", "ünï 日本.jpg", "c.jpg", "d.jpg", "e.jpg")
LABELS = (0, 1, 2, 2, 0)
UNLABELLED = (-1,) * 5


def _values(run, method, q):
    seed = [*run.encode(), len(method), q]
    return np.random.default_rng(seed).dirichlet(np.ones(3), 5).astype(np.float32)


def _evaluate(
    workdir, method, q, *, split="validation", labels=LABELS, names=NAMES, files="f", variant=""
):
    values, variant = _values(workdir.name, method, q), Variant.parse(variant)
    identity = {"parameters": workdir.name, "images": files, "method": method, "scale": q}
    identity |= {"pooling": variant.pooling, "dtype": variant.dtype}
    made_by = {"identity": identity, "checkpoint_step": saved_steps.last_step(workdir)}
    last = workdir / "checkpoints" / str(made_by["checkpoint_step"])
    made_by["params_digest"] = params_digest.of_checkpoint(last)
    posteriors = Posteriors(names, np.array(labels, np.int32), CLASSES, values, made_by)
    posteriors.save(ResultKey(split, method, (q,), variant).posteriors_path(workdir))


@pytest.fixture
def runs(tmp_path):
    """Run d is tested at 73 px, run e at three scales."""
    workdirs = [tmp_path / "runs" / name for name in ("d", "e")]
    for workdir, scales in zip(workdirs, ((), (64, 73, 110)), strict=True):
        c = mini.get_config(f"{workdir.name}_256")
        c.eval.scales = scales
        run_config.save(c, workdir)
    return workdirs


def _evaluate_all(runs, **options):
    for workdir in runs:
        for method in ("dense", "multicrop"):
            for q in (64, 73, 110):
                _evaluate(workdir, method, q, **options)


def _fused(workdirs, method, scales, split, out, variant=""):
    scales_of = dict.fromkeys(workdirs, scales)
    return fusion.fuse(fusion.keys_of(scales_of, method, split, Variant.parse(variant)), out)


def _mean(*values):
    return sum(np.asarray(value, np.float64) for value in values) / len(values)


@pytest.mark.parametrize("scales", [(), (73,), (110, 64)])
@pytest.mark.parametrize("method", ["dense", "multicrop", "both"])
def test_runs_weigh_the_same(runs, tmp_path, method, scales):
    _evaluate_all(runs, labels=UNLABELLED)
    line = _fused(runs, method, scales, None, tmp_path / "out")
    of_runs = {"d": scales or (73,), "e": scales or (64, 73, 110)}
    expected = _mean(
        *(
            _mean(
                *(
                    _mean(*(_values(run, single, q) for q in qs))
                    for single in methods.singles(method)
                )
            )
            for run, qs in of_runs.items()
        )
    )
    of_scales = "_".join(map(str, scales)) or "73+64_73_110"
    table = tmp_path / "out" / f"d+e-validation-{method}-{of_scales}.csv"
    title = f"d + e, {method}, Q = {', '.join(map(str, scales)) or '73 + 64, 73, 110'}"
    assert line == (f"{title}: 5 images without labels; their most probable classes are in {table}")
    result = sealed_json.read(table.with_suffix(".json"), dict, "")
    made_by = result.pop("made_by")["average_of"]
    assert list(made_by) == [str(workdir) for workdir in runs]
    assert all(of_run["identity"]["images"] == "f" for of_run in made_by.values())
    assert result == {
        "runs": {str(workdir): list(of_runs[workdir.name]) for workdir in runs},
        "split": "validation",
        "method": method,
        "num_images": 5,
    }
    with table.open(newline="", encoding="utf-8") as lines:
        _, *rows = csv.reader(lines)
    for row, name, values in zip(rows, NAMES, expected, strict=True):
        assert row[0] == name
        probabilities = {row[i]: float(row[i + 1]) for i in (1, 3, 5)}
        assert probabilities == pytest.approx(dict(zip(CLASSES, values, strict=True)), rel=1e-5)


def test_the_errors_are_of_the_average(runs, tmp_path):
    _evaluate_all(runs)
    told = _fused(runs, "dense", (73,), None, tmp_path).splitlines()
    result = sealed_json.read(tmp_path / "d+e-validation-dense-73.json", dict, "")
    means = _mean(*(_values(run, "dense", 73) for run in ("d", "e")))
    wrong = means.argmax(axis=1) != LABELS
    assert 0 < wrong.sum() < 5  # Otherwise the errors would show little.
    assert result["top1_error"] == pytest.approx(100 * wrong.mean())
    assert result["top5_error"] == 0
    for line, workdir in zip(told, runs, strict=False):
        of_run = 100 * (_values(workdir.name, "dense", 73).argmax(axis=1) != LABELS).mean()
        assert line.startswith(f"{workdir}: top-1 error {of_run:.2f}% (")
    assert told[2].startswith(f"d + e, dense, Q = 73: top-1 error {result['top1_error']:.2f}% (")


def test_another_split_is_named(runs, tmp_path):
    _evaluate_all(runs, split="test[:5]")
    line = _fused(runs, "dense", (73,), "test[:5]", tmp_path)
    assert "on 5 images" in line
    assert (tmp_path / "d+e-test__5_-dense-73.json").exists()


# What is missing, and what doesn't belong together.


@pytest.fixture
def of_imagenet(runs):
    """The runs d, of class folders with data.name=folder, and e, of the same with imagenet."""
    for workdir, name in zip(runs, ("folder", "imagenet"), strict=True):
        c = mini.get_config("d_256")
        c.data.name, c.data.held_out = name, 3
        run_config.save(c, workdir)
    return runs


@pytest.mark.parametrize("image", ["{}_{}.JPEG", "ILSVRC2012_val_{1:08}.JPEG"])
def test_data_name_folder_fuses_with_imagenet(of_imagenet, tmp_path, image):
    d, e = of_imagenet
    synsets = [f"n0000000{label}" for label in LABELS]
    names = [image.format(synset, number) for number, synset in enumerate(synsets)]
    folders = tuple(f"{synset}/{name}" for synset, name in zip(synsets, names, strict=True))
    _evaluate(d, "dense", 73, split="val", names=folders, files="folders")
    options = {"split": "validation", "labels": LABELS[::-1], "names": tuple(names[::-1])}
    _evaluate(e, "dense", 73, **options)
    wrong = _mean(_values("d", "dense", 73), _values("e", "dense", 73)[::-1]).argmax(1) != LABELS
    for split in ("val", "validation"):
        for number, workdirs in enumerate(((d, e), (e, d))):
            out = tmp_path / f"{split}{number}"
            line = _fused(workdirs, "dense", (73,), split, out)
            assert f"top-1 error {100 * wrong.mean():.2f}%" in line
    assert [path.name for path in out.iterdir()] == ["e+d-validation-dense-73.json"]


def _refusal(*args, **options):
    with pytest.raises(UserError) as caught:
        _fused(*args, **options)
    return str(caught.value)


def _command(workdir, *overrides):
    command = ["python", "-m", "vgg_jax.main", "--mode=eval", f"--workdir={workdir}"]
    return [*command, *(f"--config.{o}" for o in overrides)]


def _commands(message):
    return [shlex.split(line) for line in message.splitlines() if line.startswith(" ")]


def test_what_is_missing_comes_with_the_commands_that_make_it(runs, tmp_path):
    d, e = runs
    _evaluate(e, "dense", 73)
    message = _refusal(runs, "both", (), None, tmp_path / "out")
    assert message.startswith("Evaluations of 'validation' are missing")
    assert _commands(message) == [
        _command(d, "eval.method=both"),
        _command(e, "eval.method=both"),
    ]
    _evaluate(d, "dense", 73)
    assert _commands(_refusal(runs, "dense", (), None, tmp_path / "out")) == [_command(e)]
    assert not (tmp_path / "out").exists()


def test_the_commands_evaluate_the_split_that_is_missing(runs, tmp_path):
    c = mini.get_config("d_256")
    c.data.held_out = 9
    c.eval.method = "none"
    c.eval.scales = (110, 64)
    spaced = tmp_path / "runs" / "held out"
    run_config.save(c, spaced)
    split = "validation[:10%]"
    message = _refusal([runs[0], spaced], "dense", (110, 64), split, tmp_path)
    other = f"data.val_split={split}"
    assert _commands(message) == [
        _command(runs[0], other, "eval.scales=110,64"),
        _command(spaced, other, "data.held_out=0", "eval.method=dense"),
    ]
    # By default the split is the first run's.
    message = _refusal([spaced, runs[0]], "dense", (110, 64), None, tmp_path)
    assert "different images: data.held_out is 9 and 0. Only nets" in message
    assert "If theirs are the same, evaluate both" in message


def test_other_folders_may_hold_the_same_images(runs, tmp_path):
    for workdir, folder in zip(runs, ("one", "two"), strict=True):
        c = run_config.existing(workdir)
        c.data.dir = f"/{folder}"
        run_config.save(c, workdir)
    message = _refusal(runs, "dense", (73,), None, tmp_path)
    assert _commands(message) == [_command(runs[0]), _command(runs[1], "eval.scales=73")]
    assert "The runs' images lie in /one and /two. Only evaluations of the same" in message


def test_posteriors_of_another_run_or_under_another_name_are_refused(runs, tmp_path):
    for workdir in runs:
        metadata = workdir / "checkpoints/7/run/metadata"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(json.dumps({"digests": {"params": {"fc8": workdir.name}}}))
    _evaluate_all(runs)
    d, e = (workdir / "eval/validation-dense-64.npz" for workdir in runs)
    assert "top-1 error" in _fused(runs, "dense", (64,), None, tmp_path / "out")
    shutil.copy(e, d)
    message = _refusal(runs, "dense", (64,), None, tmp_path / "out")
    assert _commands(message) == [_command(runs[0], "eval.scales=64")]
    shutil.copy(runs[0] / "eval/validation-dense-73.npz", d)
    message = _refusal(runs, "dense", (64,), None, tmp_path / "out")
    assert f"{d} holds the posteriors of dense at Q = 73" in message


def test_what_is_of_an_earlier_checkpoint_is_missing(runs, tmp_path):
    e = runs[1]
    _evaluate_all(runs)
    (e / "checkpoints" / "7").mkdir(parents=True)
    message = _refusal(runs, "dense", (64, 73), None, tmp_path / "out")
    assert _commands(message) == [_command(e, "eval.scales=64,73")]
    _evaluate(e, "dense", 64)
    assert _commands(_refusal(runs, "dense", (64, 73), None, tmp_path / "out"))
    _evaluate(e, "dense", 73)
    assert "top-1 error" in _fused(runs, "dense", (64, 73), None, tmp_path / "out")


def test_what_is_of_an_earlier_best_checkpoint_is_missing_too(runs):
    d = runs[0]
    for step, error in ((7, 40.0), (9, 30.0), (11, 35.0)):
        metrics = d / f"checkpoints/{step}/metrics/metrics"
        metrics.parent.mkdir(parents=True)
        metrics.write_text(json.dumps({"top1_error": error}))
    key = ResultKey("validation", "dense", (64,), Variant("best"))
    _evaluate(d, "dense", 64, variant="best")
    assert fusion.missing(d, key) == [
        "dense at Q = 64: of step 11, but the best checkpoint is of step 9"
    ]
    shutil.rmtree(d / "checkpoints/9")
    assert fusion.missing(d, key) == []


def test_a_file_with_another_variants_name_is_refused(runs):
    _evaluate_all(runs)
    file = runs[0] / "eval/validation-dense-64.npz"
    file.rename(file.with_name("validation-dense-64-ceil.npz"))
    with pytest.raises(UserError, match=r"with pooling=floor and dtype=float32\. Give the file"):
        fusion.missing(runs[0], ResultKey("validation", "dense", (64,), Variant(pooling="ceil")))


def test_what_a_fusion_lacks_is_said_by_method(runs):
    d = runs[0]
    key = ResultKey("validation", "both", (64, 73))
    assert fusion.missing(d, key) == [
        "dense at Q = 64, 73: not there",
        "multicrop at Q = 64, 73: not there",
    ]
    _evaluate_all(runs)
    assert fusion.missing(d, key) == []
    file = d / "eval/validation-dense-64.npz"
    file.rename(file.with_name("validation-dense-64-ceil.npz"))
    assert fusion.missing(d, key) == ["dense at Q = 64: not there, but --variant=ceil is"]
    (d / "checkpoints" / "7").mkdir(parents=True)
    _evaluate(d, "dense", 64)
    assert fusion.missing(d, key) == [
        "dense at Q = 73: of step None, but the last checkpoint is of step 7",
        "multicrop at Q = 64, 73: of step None, but the last checkpoint is of step 7",
    ]


def test_a_variants_commands_make_it(runs, tmp_path):
    _evaluate_all(runs)
    message = _refusal(runs, "dense", (73,), None, tmp_path, variant="best-ceil")
    settings = ("eval.checkpoint=best", "eval.pooling=ceil")
    assert _commands(message) == [
        _command(runs[0], *settings),
        _command(runs[1], *settings, "eval.scales=73"),
    ]
    for unknown in ("worst", "ceil-best"):
        message = _refusal(runs, "dense", (73,), None, tmp_path, variant=unknown)
        assert f"There is no variant {unknown}. Join some of best, ceil, bfloat16" in message


def test_image_files_that_differ_are_refused_though_names_agree(runs, tmp_path):
    d, e = runs
    _evaluate(d, "dense", 73)
    _evaluate(e, "dense", 73, files="others")
    assert "image files that differ" in _refusal(runs, "dense", (73,), None, tmp_path / "out")


def test_a_workdir_without_a_run_is_named(runs, tmp_path):
    message = _refusal([*runs, tmp_path / "empty"], "dense", (), None, tmp_path)
    assert message.startswith(f"There is no run in {tmp_path / 'empty'}.")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"names": ("other.jpg", *NAMES[1:])}, "images"),
        ({"labels": (1, *LABELS[1:])}, "labels"),
        ({"labels": UNLABELLED}, "labels"),
    ],
)
def test_runs_evaluated_on_other_images_are_refused(runs, tmp_path, options, what):
    d, e = runs
    _evaluate(d, "dense", 73)
    _evaluate(e, "dense", 73, **options)
    message = _refusal(runs, "dense", (73,), None, tmp_path / "out")
    assert f"{d} and {e} can't be averaged: their {what} differ (the first at 0: " in message
    assert not (tmp_path / "out").exists()


# The command.


def _fuse(*args):
    return small_runs.run_module("vgg_jax.fuse", *args, **small_runs.ASCII_ALONE)


def test_the_command_fuses(runs):
    _evaluate_all(runs, labels=UNLABELLED)
    done = _fuse(*runs, "--method=both", "--scales=64,110")
    out = runs[0].parent / "fused" / "d+e-validation-both-64_110"
    assert done.stdout == (
        "d + e, both, Q = 64, 110: 5 images without labels; their most probable classes are in "
        f"{out}.csv\nThe result is in {out}.json.\n"
    ), done.stderr
    assert "größe" in out.with_suffix(".csv").read_text(encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")


def test_each_run_may_have_scales_of_its_own(runs):
    _evaluate_all(runs)
    done = _fuse(f"{runs[0]}:110,64", runs[1], "--scales=73", f"--out={runs[0].parent / 'out'}")
    assert "\nd + e, dense, Q = 110, 64 + 73: top-1 error " in done.stdout, done.stderr
    result = runs[0].parent / "out" / "d+e-validation-dense-110_64+73.json"
    assert json.loads(result.read_text())["runs"] == {str(runs[0]): [110, 64], str(runs[1]): [73]}


def test_the_command_takes_what_counts(runs, tmp_path):
    _evaluate_all(runs, labels=(0, 2, 2, 2, 0))
    mean = _mean(*(_values(run, "dense", 73) for run in ("d", "e")))
    done = _fuse(*runs, "--scales=73", "--classes=present")
    wrong = mean[:, [0, 2]].argmax(axis=1) != [0, 1, 1, 1, 0]
    title = f"d + e, dense, Q = 73, 2 present classes: top-1 error {100 * wrong.mean():.2f}% "
    assert title in done.stdout, done.stderr
    # The images in the order of their names are the first, c, d, e and the second.
    (tmp_path / "real.json").write_text("[[1], [], [0, 1], [2], [0, 1, 2]]")
    done = _fuse(*runs, "--scales=73", f"--labels={tmp_path}/real.json")
    best = mean.argmax(axis=1)
    wrong = [best[0] != 1, best[3] == 2, best[4] != 2, False]
    assert f"for 4 of 5 images: top-1 error {100 * np.mean(wrong):.2f}% " in done.stdout
    assert {path.name for path in (runs[0].parent / "fused").iterdir()} == {
        "d+e-validation-dense-73-present.json",
        "d+e-validation-dense-73-real.json",
    }


def test_the_result_lies_beside_a_run_that_is_the_current_folder(runs, monkeypatch):
    _evaluate_all(runs)
    monkeypatch.chdir(runs[0])
    monkeypatch.setenv("PYTHONPATH", str(small_runs.ROOT))
    command = [sys.executable, "-m", "vgg_jax.fuse", ".", "../e", "--scales=73"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = runs[0].parent / "fused/d+e-validation-dense-73.json"
    assert result.exists()
    assert done.stdout.endswith(f"\nThe result is in {result}.\n")


def test_a_link_to_itself_is_no_run(runs, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    done = _fuse(runs[0], tmp_path / "loop")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"There is no run in {tmp_path / 'loop'}." in done.stderr


@pytest.mark.parametrize(
    ("again", "flag", "says"),
    [
        ("runs/../runs/d", "--scales=73", "two runs or more, each once"),
        ("runs/e", "--scales=73,large", "--scales takes whole numbers, each once"),
        ("runs/e", "--scales=73,73", "--scales takes whole numbers, each once"),
        ("runs/e", "--scales=-73", "--scales takes whole numbers, each once"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(runs, tmp_path, again, flag, says):
    _evaluate_all(runs)
    refused = _fuse(runs[0], tmp_path / again, flag)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "runs" / "fused").exists()


def test_no_jax_is_needed():
    code = "import sys; import vgg_jax.fuse; print('jax' in sys.modules)"
    done = small_runs.run_python("-c", code)
    assert done.stdout.split() == ["False"], done.stderr


def test_a_net_without_fc_layers_has_nothing_to_fuse(runs, tmp_path):
    _evaluate_all(runs[:1])
    imported = {"file": "e.pth", "fc_layers": False}
    run_result.write(runs[1], {"imported": imported, "commits": []})
    with pytest.raises(UserError, match="imported without FC layers") as error:
        _fused(runs, "dense", (73,), "", tmp_path)
    assert "--mode=eval" not in str(error.value)
