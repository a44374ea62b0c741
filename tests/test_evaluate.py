"""The real entry point with --mode=eval: kept posteriors, settings, refusals and interruptions."""

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import small_runs
from PIL import Image

from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors
from vgg_jax.evaluation.unfinished import Unfinished
from vgg_jax.runs import run_config
from vgg_jax.storage import writer

SCALES = "--config.eval.scales=64,73,96"


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of the trained run, without its evaluations."""
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/eval")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a run that the first test which needs it evaluates."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def evaluated(folder, trained, kept, tmp_path, run_main, capsys):
    """A copy of the trained run, with the dense evaluation of this process."""
    if not kept.exists():
        shutil.copytree(trained, kept, ignore=shutil.ignore_patterns("eval"))
        run_main(*small_runs.one_epoch(folder, kept, "--mode=eval"))
        capsys.readouterr()
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


def values(workdir, name):
    return posteriors.read(workdir / "eval" / f"{name}.npz").values


def result(workdir, name):
    return json.loads((workdir / "eval" / f"{name}.json").read_text())


def test_training_ends_with_the_evaluation_that_its_config_names(trained):
    output = (trained / "output").read_text()
    shapes = r"\d batch(es)? of \d shapes?, with [\d.]+% padding"
    assert re.search(rf"\ndense, Q = 73: 9 images in {shapes}\n", output)
    more = r"; [\d.]+ times the pixels of dense evaluation"
    assert re.search(rf"\nmulticrop, Q = 73: 9 images in {shapes}{more}\n", output)
    for method in ("dense", "multicrop", "both"):
        start = f"{method}, Q = 73: top-1 error "
        (line,) = (line for line in output.splitlines() if line.startswith(start))
        assert line.endswith("on 9 images")
        found = result(trained, f"val-{method}-73")
        assert f"top-1 error {found['top1_error']:.2f}%" in line
        assert "top-5" not in line  # It says nothing of three classes.
        assert found["top5_error"] == 0
        assert found["num_images"] == 9
        assert found["checkpoint_step"] == 2
        low, high = found["top1_interval"]
        assert 0 <= low <= found["top1_error"] <= high <= 100
    assert sorted(path.name for path in (trained / "eval").iterdir()) == [
        *("val-both-73.json", "val-dense-73.json", "val-dense-73.npz"),
        *("val-multicrop-73.json", "val-multicrop-73.npz"),
    ]


def test_a_finished_run_says_its_result_again(folder, workdir, run_main, capsys):
    run_main(*small_runs.one_epoch(folder, workdir))
    (first,) = (
        line for line in capsys.readouterr().out.splitlines() if "top-1" in line and "Q" in line
    )
    written_ns = (workdir / "eval/val-dense-73.npz").stat().st_mtime_ns
    run_main(*small_runs.one_epoch(folder, workdir))
    assert first in capsys.readouterr().out
    assert (workdir / "eval/val-dense-73.npz").stat().st_mtime_ns == written_ns


def test_saved_whole_but_not_yet_a_file(folder, evaluated, run_main):
    """This is what a kill leaves between the save of the last part and that of the file."""
    path = evaluated / "eval/val-dense-73.npz"
    before = posteriors.read(path)
    identity = before.made_by["identity"]
    parts = Unfinished(path.with_suffix(".unfinished"), identity, 9, 3, save_every_s=0.0)
    parts.add(np.arange(9), before.values)
    path.unlink()
    run_main(*small_runs.one_epoch(folder, evaluated, "--mode=eval"))
    np.testing.assert_array_equal(values(evaluated, "val-dense-73"), before.values)
    assert posteriors.read(path).made_by["images_computed"] == 0
    assert not path.with_suffix(".unfinished").exists()


def test_images_that_changed_are_evaluated_again(folder, workdir, tmp_path, run_main, capsys):
    shutil.copytree(folder, tmp_path / "data")
    here = ("--mode=eval", f"--config.data.dir={tmp_path / 'data'}")
    image = tmp_path / "data/val/a/0.bmp"
    (tmp_path / "data/val/a/0.jpg").unlink()
    for seed in (0, 1):  # Both have one name and size.
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(image)
        run_main(*small_runs.one_epoch(folder, workdir, *here))
    assert "was made with other contents; it is made again" in capsys.readouterr().out


def test_two_evaluations_of_one_workdir(folder, workdir, run_main):
    with writer.one_writer(workdir / "eval", "val-dense", "evaluating", "go elsewhere"):
        message = refusal(run_main, *small_runs.one_epoch(folder, workdir, "--mode=eval"))
        assert message.startswith(f"{workdir}/eval is in use: process {os.getpid()} on ")
        assert message.endswith("or name another folder with --mode=eval --out.")
        other = ("--mode=eval", "--config.eval.method=multicrop")
        run_main(*small_runs.one_epoch(folder, workdir, *other))


def test_a_run_that_is_training_is_evaluated(folder, workdir, run_main):
    with writer.one_writer(workdir, "training", "training", "go elsewhere"):
        run_main(*small_runs.one_epoch(folder, workdir, "--mode=eval"))
    assert result(workdir, "val-dense-73")["num_images"] == 9


def test_images_that_were_trained_on_are_not_held_out(folder, workdir, run_main):
    message = refusal(
        run_main,
        *small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.data.held_out=5"),
    )
    assert "The run was trained on images that this config holds out" in message
    assert "data.held_out=0" in message


def test_a_result_says_what_it_was_made_of(trained, folder):
    found = posteriors.read(trained / "eval/val-dense-73.npz")
    names = [f"{'abc'[i % 3]}/{i}.jpg" for i in range(9)]
    assert list(found.names) == sorted(names)
    assert [found.class_names[label] for label in found.labels] == [n[0] for n in sorted(names)]
    np.testing.assert_allclose(found.values.sum(axis=1), 1, atol=1e-6)
    assert found.made_by["identity"]["method"] == "dense"
    assert found.made_by["identity"]["scale"] == 73
    assert found.made_by["images_computed"] == 9
    assert found.made_by["shapes"] <= 8
    assert {"seconds", "compile_s", "waste", "devices", "jax", "vgg_jax"} <= set(found.made_by)


def test_scales_and_methods_are_averages_of_what_is_computed_once(
    folder, workdir, run_main, capsys
):
    """The evaluations don't change the run's config either."""
    config = run_config.load(workdir)
    run_main(*small_runs.one_epoch(folder, workdir, "--mode=eval", SCALES))
    files = {path: path.stat().st_mtime_ns for path in (workdir / "eval").glob("*.npz")}
    assert sorted(path.stem for path in files) == ["val-dense-64", "val-dense-73", "val-dense-96"]
    run_main(
        *small_runs.one_epoch(folder, workdir, "--mode=eval", SCALES, "--config.eval.method=both")
    )
    output = capsys.readouterr().out
    for path, written_ns in files.items():
        assert path.stat().st_mtime_ns == written_ns
    dense, multicrop = (
        np.mean([values(workdir, f"val-{method}-{q}") for q in (64, 73, 96)], axis=0)
        for method in ("dense", "multicrop")
    )
    labels = posteriors.read(workdir / "eval/val-dense-64.npz").labels
    for name, mean in {"dense": dense, "both": (dense + multicrop) / 2}.items():
        error = 100 * (mean.argmax(axis=1) != labels).mean()
        assert result(workdir, f"val-{name}-64_73_96")["top1_error"] == pytest.approx(error)
        assert f"{name}, Q = 64, 73, 96: top-1 error {error:.2f}%" in output
    assert run_config.load(workdir) == config


def test_one_scale_needs_no_comma(folder, workdir, run_main):
    run_main(*small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.eval.scales=64"))
    assert result(workdir, "val-dense-64")["scales"] == [64]


def test_settings_have_files_of_their_own(folder, evaluated, run_main):
    workdir = evaluated
    for key, value in (("pooling", "ceil"), ("dtype", "bfloat16"), ("checkpoint", "best")):
        more = ("--mode=eval", f"--config.eval.{key}={value}")
        run_main(*small_runs.one_epoch(folder, workdir, *more))
    standard, ceil, bfloat16, best = (
        values(workdir, f"val-dense-73{variant}") for variant in ("", "-ceil", "-bfloat16", "-best")
    )
    assert np.abs(ceil - standard).max() > 1e-6
    assert 0 < np.abs(bfloat16 - standard).max() < 0.02
    np.testing.assert_array_equal(best, standard)  # After one epoch the best is the last.
    assert result(workdir, "val-dense-73-best")["checkpoint"] == "best"


def test_another_checkpoints_file_is_made_again(folder, evaluated, run_main, capsys):
    path = evaluated / "eval/val-dense-73.npz"
    ours = posteriors.read(path)
    earlier = dict(ours.made_by, identity=ours.made_by["identity"] | {"parameters": "others"})
    dataclasses.replace(ours, values=ours.values[::-1], made_by=earlier).save(path)
    run_main(*small_runs.one_epoch(folder, evaluated, "--mode=eval"))
    assert "was made with other parameters; it is made again" in capsys.readouterr().out
    np.testing.assert_array_equal(values(evaluated, "val-dense-73"), ours.values)


def test_unlabelled_images_give_posteriors_and_a_table(folder, workdir, tmp_path, run_main, capsys):
    flat = tmp_path / "data" / "test"
    flat.mkdir(parents=True)
    for path in (folder / "val").rglob("*.jpg"):
        shutil.copy(path, flat)
    here = (f"--config.data.dir={flat.parent}", "--config.data.val_split=test")
    run_main(*small_runs.one_epoch(folder, workdir, "--mode=eval", *here))
    output = capsys.readouterr().out
    assert "9 images without labels" in output
    assert "error" not in output
    assert "top1_error" not in result(workdir, "data-test-dense-73")
    with (workdir / "eval/data-test-dense-73.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["image", *(f"{w}_{k}" for k in (1, 2, 3) for w in ("class", "probability"))]
    found = posteriors.read(workdir / "eval/data-test-dense-73.npz")
    assert [row[0] for row in rows] == sorted(f"{i}.jpg" for i in range(9))
    assert [row[1] for row in rows] == ["abc"[k] for k in found.values.argmax(axis=1)]
    assert set(found.labels.tolist()) == {-1}


def test_an_undecodable_image_is_left_out_and_counted(folder, workdir, tmp_path, run_main):
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data/val/a/0.jpg").write_bytes(b"no image")
    here = (f"--config.data.dir={tmp_path / 'data'}", "--mode=eval")
    with pytest.raises(UserError, match="1 of the 9 val images can't be decoded"):
        run_main(*small_runs.one_epoch(folder, workdir, *here))
    run_main(*small_runs.one_epoch(folder, workdir, *here, "--config.data.undecodable=leave_out"))
    assert result(workdir, "data-val-dense-73")["num_images"] == 8


def refusal(run_main, *args):
    with pytest.raises(UserError) as error:
        run_main(*args)
    return str(error.value)


def test_no_checkpoint(folder, tmp_path, run_main):
    message = refusal(run_main, *small_runs.one_epoch(folder, tmp_path / "none", "--mode=eval"))
    assert f"There is no checkpoint in {tmp_path / 'none'}" in message
    assert "--workdir" in message
    assert not (tmp_path / "none").exists()


def test_another_nets_checkpoint(folder, workdir, run_main):
    message = refusal(
        run_main,
        *small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.net=B", "--config.width=1"),
    )
    assert "net is A there and B here" in message
    assert "width is 0.03125 there and 1.0 here" in message


def test_q_below_the_crop(folder, workdir, run_main):
    message = refusal(
        run_main,
        *small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.eval.scales=73,63"),
    )
    assert "Q=63 is below the net's crop of 64 px" in message


def test_classes_that_do_not_match(folder, workdir, tmp_path, run_main):
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data/val/b").rename(tmp_path / "data/val/bee")
    message = refusal(
        run_main,
        *small_runs.one_epoch(
            folder, workdir, "--mode=eval", f"--config.data.dir={tmp_path / 'data'}"
        ),
    )
    assert f"The net in {workdir} lacks 1 of the 3 classes of the images: bee. Rename" in message
    assert "names of the net's 3 classes (a, b, c)" in message


def test_posteriors_of_other_images(folder, workdir, tmp_path, run_main):
    shutil.copytree(folder, tmp_path / "data")
    here = (f"--config.data.dir={tmp_path / 'data'}", "--mode=eval")
    (tmp_path / "data/val/a/0.jpg").rename(tmp_path / "data/val/a/zero.jpg")
    run_main(*small_runs.one_epoch(folder, workdir, *here))
    before = (workdir / "eval/data-val-dense-73.npz").read_bytes()
    (tmp_path / "data/val/a/3.jpg").rename(tmp_path / "data/val/a/three.jpg")
    for scale in (73, 64):
        scales = f"--config.eval.scales={scale}"
        message = refusal(run_main, *small_runs.one_epoch(folder, workdir, *here, scales))
        assert "holds the posteriors of other images: data-val-dense-73.npz. Move" in message
    assert (workdir / "eval/data-val-dense-73.npz").read_bytes() == before


def test_bad_flags_touch_no_device(folder, workdir):
    done = small_runs.run_process(
        *small_runs.one_epoch(folder, workdir, "--mode=eval", "--config.eval.scales=32"),
        JAX_PLATFORMS="nonsense",
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: The test scale Q=32 is below")


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """120 images of the classes of `folder`, of three sizes, for many batches of one image."""
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(1)
    for index in range(120):
        (root / "val" / "abc"[index % 3]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (*[(70, 90), (90, 70), (80, 80)][index % 3], 3), np.uint8)
        Image.fromarray(pixels).save(root / f"val/{'abc'[index % 3]}/{index:03}.png")
    return root


def start_many(many, workdir):
    return subprocess.Popen(
        [
            *small_runs.COMMAND,
            *small_runs.one_epoch(
                many,
                workdir,
                "--mode=eval",
                "--config.eval.method=multicrop",
                "--config.eval.batch_px=1",
                "--config.eval.save_every_s=0",
            ),
        ],
        cwd=small_runs.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=small_runs.environment(),
    )


@pytest.fixture(scope="session")
def uninterrupted(many, trained, tmp_path_factory):
    """The output and the posteriors of an evaluation that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns("eval"))
    process = start_many(many, workdir)
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return output, values(workdir, f"{many.name}-val-multicrop-73")


def test_interrupted_again_and_again_it_goes_on(many, workdir, uninterrupted):
    name = f"{many.name}-val"  # These are not the images that the run was validated on.
    parts = workdir / f"eval/{name}-multicrop-73.unfinished"
    kept = 0
    for how, expected in (
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 0),
        (signal.SIGINT, 130),
    ):
        process = start_many(many, workdir)
        deadline = time.monotonic() + 180
        while len(list(parts.glob("*.npz"))) < kept + 5:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.002)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == expected
        assert "Traceback" not in errors
        if how != signal.SIGKILL:
            assert "the same command goes on from it" in errors
        kept = len(list(parts.glob("*.npz")))
        assert not (workdir / f"eval/{name}-multicrop-73.npz").exists()

    output, expected_values = uninterrupted
    again = start_many(many, workdir)
    results = again.communicate(timeout=180)[0].splitlines()
    assert results[:-1] == output.splitlines()[:-1]
    assert results[-1] == f"The report is in {workdir}/report-{name}.html."
    ours = posteriors.read(workdir / f"eval/{name}-multicrop-73.npz")
    np.testing.assert_array_equal(ours.values, expected_values)
    assert ours.made_by["images_computed"] <= 120 - kept < 120
    assert not parts.exists()


def run_processes(count, devices, *args):
    ends = small_runs.ends(small_runs.start_processes(count, devices, *args))
    assert [status for status, _, _ in ends] == [0] * count, ends
    return [output for _, output, _ in ends]


def test_two_processes_equal_one(folder, trained, workdir):
    """9 images on 2 processes of 2 devices: their shares differ, but not their numbers of steps."""
    more = ("--mode=eval", "--config.eval.method=both")
    first, second = run_processes(2, 2, *small_runs.one_epoch(folder, workdir, *more))
    alone = (trained / "output").read_text()  # It ends with the same evaluation.
    results = [line for line in alone.splitlines() if "Q = 73: top-1 error" in line]
    assert len(results) == 3
    assert [line for line in first.splitlines() if "top-1 error" in line] == results
    assert not small_runs.spoke(second)
    for name in ("val-dense-73", "val-multicrop-73"):
        np.testing.assert_allclose(values(workdir, name), values(trained, name), rtol=0, atol=1e-6)
    ours, theirs = (posteriors.read(w / "eval/val-dense-73.npz") for w in (workdir, trained))
    assert (ours.names, ours.labels.tolist()) == (theirs.names, theirs.labels.tolist())
    assert "4 x" in ours.made_by["devices"]


def test_an_error_of_the_first_process_ends_the_others(folder, workdir):
    with writer.one_writer(workdir / "eval", "val-dense", "evaluating", "go elsewhere"):
        processes = small_runs.start_processes(
            2, 1, *small_runs.one_epoch(folder, workdir, "--mode=eval")
        )
        first, second = small_runs.ends(processes)
    assert [first[0], second[0]] == [2, 2]
    assert f"error: {workdir}/eval is in use: process {os.getpid()} on " in first[2]
    assert second[2].startswith("\nerror: Process 0 on ")
    assert second[2].count("\n") == 2
    assert f"has ended: {workdir}/eval is in use: process {os.getpid()} on " in second[2]
