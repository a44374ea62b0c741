"""The benchmark's command: its tables, its files, its errors, and the sides it starts."""

import dataclasses
import importlib.util
import io
import json
import os
import re
import sys

import forked
import pytest
import small_runs

from launch.benchmark import (
    arithmetic,
    crop_input,
    dense,
    layers,
    loop,
    record,
    scanning,
    start,
    table,
    train,
    turns,
)
from launch.benchmark.case import Case
from launch.benchmark.sides import process, product_input
from launch.benchmark.turns import Side
from vgg_jax.data.pooled import open_images
from vgg_jax.errors import UserError
from vgg_jax.nets import architectures
from vgg_jax.system import git_commit

CASE = Case("D", "float32", 8)
RATES = {"platform": "cpu", "device": "a CPU", "flops_per_s": 1e12, "bytes_per_s": 1e10}
TINY = ("--net=A", "--width=0.03125", "--crop_px=32", "--rounds=1")


# Calls `launch.benchmark`, with short timings of the input.
benchmark = forked.fixture("quick_benchmark")


def _rows(text):
    """Returns the cells of a table's rows by their first cell."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in rows[2:]}


def test_methods_has_the_evaluations_errors_and_batches_are_exact(benchmark, trained, tmp_path):
    out = tmp_path / "methods.json"
    done = benchmark("methods", f"--workdir={trained}", "--rounds=1", f"--out={out}")
    assert done.returncode == 0, done.stderr
    for method in ("dense", "multicrop", "both"):
        ours = json.loads((trained / f"eval/val-{method}-73.json").read_text())
        (row,) = re.findall(rf"^\| {method} \| ([\d.]+) \(", done.stdout, re.MULTILINE)
        assert float(row) == pytest.approx(ours["top1_error"], abs=0.006)
    assert "| both - dense |" in done.stdout
    assert "top-5" not in done.stdout  # There are three classes.
    (largest,) = re.findall(r"largest difference of a posterior (\S+)", done.stdout)
    assert float(largest) < 1e-5
    assert len(json.loads(out.read_text())["dense"]["in batches"]) == 1


@pytest.mark.runs
def test_train_prints_a_table_and_keeps_every_measurement(tmp_path):
    out = tmp_path / "some" / "train.json"
    done = small_runs.run_module(
        "launch.benchmark", "train", *TINY, "--batch=2", "--layers", "--peer=none", f"--out={out}"
    )
    assert done.returncode == 0, done.stderr
    assert "Training step of net A, width 0.03125, 32 px, batch 2, float32" in done.stdout
    assert "ratio" not in done.stdout  # There is no peer.
    assert "| conv5_2 | gradient of the kernel |" in done.stdout
    kept = json.loads(out.read_text())
    assert kept["command"].startswith("python -m launch.benchmark train --net=A --width=0.03125")
    assert kept["versions"].keys() >= {"python", "jax", "jaxlib", "pillow"}
    assert kept["cores"] >= 1
    assert kept["glibc_tunables"] == os.environ["GLIBC_TUNABLES"]
    assert kept["commit"] == git_commit.commit().removesuffix("-dirty")
    assert isinstance(kept["clean"], bool)
    assert re.match(r"\d{4}-\d\d-\d\dT", kept["date"])
    assert kept["rates"]["device"] == "cpu"
    (of_round,) = kept["results"]["vgg_jax"]
    assert len(of_round["seconds"]) >= 3
    assert kept["layers"]["vgg_jax"][0]["conv1_1"].keys() == {"forward", "gradient of the kernel"}


def test_the_median_of_rounds_is_that_of_their_medians():
    rounds = [{"seconds": values} for values in ([1, 2, 9], [3, 3, 3], [4, 1, 5])]
    assert table.median_of_rounds(rounds) == (3, 2 / 3)  # The medians are 2, 3 and 4.


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.12"), (9.876, "9.88"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits(value, text):
    assert table.number(value) == text


def test_the_table_of_steps():
    results = {
        "vgg_jax": [{"seconds": [s], "peak_bytes": 2**30} for s in (3.0, 4.0, 5.0)],
        "PyTorch": [{"seconds": [s], "peak_bytes": None} for s in (6.0, 6.0, 6.0)],
    }
    text = train.rendered(CASE, "step", RATES, results, "A note.")
    rows = _rows(text)
    flops = 8 * arithmetic.flops_per_image(CASE, "step")
    assert rows["vgg_jax"] == [
        *("2.00", "50.0%", "4,000", f"{flops / 4e9:.0f}", f"{flops / 4e12:.1%}", "1.07")
    ]
    assert rows["PyTorch"][:3] == ["1.33", "0.0%", "6,000"]
    assert rows["PyTorch"][-1] == "-"
    floor_s = flops / 1e12
    assert rows["floor: the arithmetic at the matrix rate"][0] == table.number(8 / floor_s)
    assert text.endswith("Copies move 10.0 GB/s. A note.\n\nratio 1.50 to PyTorch")


def test_the_table_of_layers_says_what_is_beyond_the_convolutions():
    case = Case("A", "float32", 1, width=1 / 16, crop_px=32)
    names = [layer.name for layer, _ in arithmetic.convolutions(case)]
    measured = {name: {each: [0.001] for each in arithmetic.PASSES} for name in names}
    results = {"vgg_jax": [measured], "PyTorch": [measured]}
    rows = _rows(layers.rendered(case, RATES, {"vgg_jax": 0.030, "PyTorch": 0.025}, results))
    passes = 3 * len(names) - 1  # conv1_1 has no gradient of x.
    assert rows["all convolutions"][2] == table.number(passes)
    assert rows["the step beyond them"][2] == table.number(30 - passes)
    assert rows["the step beyond them"][5] == table.number(25 - passes)


def test_the_table_of_dense_evaluation():
    results = {
        name: [{"seconds": [s], "shapes": 2, "padding": 0.1, "warm_up_s": 7.0}]
        for name, s in (("vgg_jax", 1.0), ("one", 2.0), ("another", 4.0))
    }
    results["vgg_jax"][0] |= {"batches_s": [0.1], "net_s": [0.8]}
    differences = {"one": 1e-6, "another": 2e-6}
    sizes = [(256, 256), (256, 341)]
    text = dense.rendered(CASE, RATES, 256, sizes, results, differences)
    rows = _rows(text)
    assert [rows[name][0] for name in results] == ["2.00", "1.00", "0.50"]
    assert rows["vgg_jax, its batches alone, on the host"][0] == "20.0"
    assert rows["vgg_jax, its net alone"][0] == "2.50"
    assert rows["one"][-1] == "1.0e-06"
    assert text.endswith("ratio 2.00 to one\n\nratio 4.00 to another")


def test_the_table_of_crops_counts_per_core():
    ours = {"seconds": [0.001], "decode_s": [0.001], "difference": 1, "differing": 0.01}
    pillow = {"seconds": [0.002], "decode_s": [0.001]}
    settings = {"workers": 2, "train_scale": (256, 512), "crop_px": 224}
    text = crop_input.rendered(settings, [9], {"vgg_jax": [ours], "Pillow": [pillow]})
    assert "| decoding and crops | vgg_jax | 500 |" in text
    assert "| decoding alone | vgg_jax | 1,000 |" in text
    assert "is 1, and 1.00% of the values differ" in text
    assert text.endswith("ratio 2.00")


def test_the_table_of_crops_has_the_ratio_of_each_form_to_the_first():
    results = {
        name: [{"seconds": [s], "decode_s": [s], "read_s": [r], "difference": 2, "differing": d}]
        for name, s, r, d in (("A", 0.002, 1e-5, 0.01), ("B", 0.004, 2e-5, 0.02))
    }
    settings = {"workers": 1, "train_scale": (256, 512), "crop_px": 224}
    text = crop_input.rendered(settings, [1000, 9], results)
    assert "from 1,000, 9 images" in text
    assert "| reading alone, at random | B | 50,000 |" in text
    assert "and 2.00% of the values differ" in text
    assert text.endswith("\n\nratio 0.50 of B to A")


def test_the_table_of_scans():
    seconds = {"threads": (0.001, 0.1, 0.002), "1 worker process": (0.0005, 1.5, 0.0004)}
    results = {}
    for name, (scan_s, start_s, epoch_s) in seconds.items():
        results[f"scan, {name}"] = [{"seconds": [scan_s], "start_s": [start_s]}]
        results[f"crops, {name}"] = [{"seconds": [epoch_s]}]
    rows = _rows(scanning.rendered([0, 1], 2000, results))
    minutes = 1_281_167 * 0.001 / 60
    assert rows["threads"] == [
        *("1,000 (0.0%)", "0.10", "500 (0.0%)", "0.50", table.number(minutes))
    ]
    assert rows["1 worker process"][3] == "1.25"
    results["scan, threads"][0]["seconds"] = [-0.001]  # The start took longer by chance.
    rows = _rows(scanning.rendered([0, 1], 20, results))
    assert rows["threads"][:3] == ["too few images", "0.10", "500 (0.0%)"]


@pytest.mark.parametrize(("platform", "ratio"), [("cpu", "1.25"), ("gpu", "1.67")])
def test_the_table_of_an_epoch(platform, ratio):
    seconds = {"an epoch of the loop": 5.0, "its steps alone": 3.0, "its input alone": 1.0}
    results = {name: [{"seconds": [s], "steps": 10}] for name, s in seconds.items()}
    text = loop.rendered(CASE, RATES | {"platform": platform}, 2, results)
    assert f"\nratio {ratio} of the epoch to " in text


def test_the_table_of_starts():
    results = {"first time": [{"seconds": [8.0]}], "second time": [{"seconds": [2.0]}]}
    assert start.rendered(CASE, RATES, results).endswith(
        "ratio 0.25 of the second time to the first"
    )


def test_the_arithmetic_is_that_of_the_architecture():
    costs = architectures.costs(architectures.layers("D"), 224)
    forward = 2 * sum(cost.multiply_adds for cost in costs)
    assert forward == pytest.approx(30.9e9, rel=0.01)  # 15.5 GFLOPs of multiply-adds.
    assert arithmetic.flops_per_image(CASE, "forward") == forward
    first = 2 * 224**2 * 9 * 3 * 64
    assert arithmetic.flops_per_image(CASE, "step") == 3 * forward - first
    assert arithmetic.dense_flops(CASE, 224, 224) == 2 * forward
    assert arithmetic.dense_flops(CASE, 224, 448) > 4 * forward


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give one command: python -m launch.benchmark train|eval|input|scan|loop|"),
        (("tune",), "Give one command"),
        (("train", "--scale=256"), "--scale is not for train, which reads --batch,"),
        (("train", "--peer=pillow"), "--peer=pillow is not for this command."),
        (("train", "--pass=forward", "--layers"), "--layers needs --pass=step."),
        (("train", "--crop_px=100", "--peer=none"), "crop_px=100 is not a whole number"),
        (("train", "--width=0", "--peer=none"), "width=0.0 must be a finite number above 0."),
        (("train", "--batch=0"), "--batch"),
        (("train", "--out=here"), "--out=here must end with .json."),
        (
            ("eval", "--scale=200", "--peer=none"),
            "The test scale Q=200 is below the net's crop of 224 px",
        ),
        (("eval", "--data=absent", "--peer=none"), "There is no folder absent."),
        (("input",), "--data is missing."),
        (("input", "--data=absent"), "There is no folder absent."),
        (("input", "--data=launch", "--scales=1,2,3"), "--scales takes the smallest and"),
        (("input", "--data=launch", "--scales=200,300"), "--scales=200,300 must be at least the"),
        (("input", "--data=a", "--data=a"), "--data names the same images twice."),
        (("input", "--data=launch", "--data=absent"), "The class folders of launch lie"),
        (("input", "--data_name=folder", "--data=absent"), "There is no folder absent."),
        (
            ("input", "--data_name=folder", "--data=launch", "--peer=pillow"),
            "--peer=pillow is not for this command. It takes none.",
        ),
        (("scan",), "--data is missing."),
        (("scan", "--data=a", "--data=b"), "--data is given 2 times, which is for input alone."),
        (("scan", "--data=absent"), "There is no folder absent."),
        (("loop", "--data=absent"), "There is no folder absent."),
        (("start", "--peer=none"), "--peer is not for start"),
        (("methods",), "--workdir is missing."),
        (("methods", "--workdir=absent"), "There is no checkpoint of a run in absent."),
    ],
)
def test_what_is_wrong_is_said_before_any_work(benchmark, arguments, message):
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr


def test_a_file_that_exists_is_not_overwritten(tmp_path):
    out = tmp_path / "kept.json"
    out.write_text("{}")
    with pytest.raises(UserError, match=f"--out={out} exists already"):
        record.check_out(str(out))


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_one_error_says_what_to_install(benchmark):
    done = benchmark("train")
    assert done.returncode == 2
    assert done.stderr.startswith("error: PyTorch isn't installed. Install it (pip install torch)")


def test_a_side_that_fails_is_named_with_its_error():
    with pytest.raises(UserError, match="The rates failed with status 1") as raised:
        turns.once(Side("The rates", "jax_rates", {"dtype": "float31"}), 60)
    assert "float31" in str(raised.value).splitlines()[-1]


def test_a_sides_error_that_a_user_can_fix_stands_alone():
    settings = {"data": "/nowhere", "data_name": None, "num_images": 1, "workers": 0}
    with pytest.raises(UserError, match=r"^There is no folder /nowhere\."):
        turns.once(Side("The scan", "product_scan", settings), 60)


def test_a_time_below_0_is_told_as_too_few_images(monkeypatch, capsys):
    monkeypatch.setattr(turns, "once", lambda side, limit_s: {"seconds": [-0.001]})
    turns.in_turns([Side("scan", "", {})], 1, 60)
    assert capsys.readouterr().err == "Round 1 of 1: scan\n  too few images\n"


def test_a_side_that_hangs_is_ended():
    with pytest.raises(UserError, match="The rates took longer than --limit_s"):
        turns.once(Side("The rates", "jax_rates", {"dtype": ""}), 0.1)


def test_a_side_with_the_other_sides_packages_fails(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"value": 3}'))
    with pytest.raises(RuntimeError, match="imported json, re of the other one"):
        process.run(lambda value: {"value": value}, without=("absent", "json", "re"))
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"value": 3}'))
    process.run(lambda value: {"value": value}, without=("absent",))
    assert json.loads(capsys.readouterr().out) == {"value": 3}


def test_warm_up_is_not_among_the_seconds():
    calls = []
    warm_up_s, seconds = process.timed(lambda: calls.append(0), warm_up=3, at_least=4, at_least_s=0)
    assert (len(calls), len(seconds)) == (7, 4)
    assert warm_up_s >= 0


def test_crops_differ_from_pillows_by_rounding_alone(folder):
    source = open_images(str(folder / "train"))
    differences = product_input.differences(source, len(source), [40, 90], 32)
    assert differences.shape == (17, 32, 32, 3)
    assert differences.max() <= crop_input.MOST_DIFFERENCE


@pytest.mark.runs
def test_input_compares_worker_processes(benchmark, folder, tmp_path):
    out = tmp_path / "input.json"
    done = benchmark(
        *("input", f"--data={folder}/train", "--crop_px=32", "--scales=40,90", "--rounds=1"),
        f"--out={out}",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\nratio \d+\.\d\d\n", done.stdout)
    assert " s per image\n" in done.stderr
    assert {*json.loads(out.read_text())["results"]} == {"vgg_jax", "Pillow"}


@pytest.mark.runs
def test_input_compares_forms_of_the_same_images(benchmark, folder, tmp_path):
    root, out = folder / "train", tmp_path / "input.json"
    lines = [f"{path},{path.parent.name}" for path in sorted(root.rglob("*.*"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    data = (str(root), str(tmp_path / "list.csv"))
    done = benchmark(
        *("input", *(f"--data={each}" for each in data), "--crop_px=32", "--scales=40,90"),
        *("--rounds=1", f"--out={out}"),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rf"\nratio \d+\.\d\d of {data[1]} to {data[0]}\n", done.stdout)
    assert "from 17 images" in done.stdout
    results = json.loads(out.read_text())["results"]
    assert (*results,) == data
    assert {each[0]["difference"] for each in results.values()} <= {0, 1, 2}


@pytest.mark.runs
def test_scan_compares_threads_and_workers_with_an_epochs_reading(benchmark, folder, tmp_path):
    out = tmp_path / "scan.json"
    done = benchmark(
        *("scan", "--data_name=folder", f"--data={folder}", "--images=100", "--workers=1"),
        *("--crop_px=32", "--scales=40,90", "--rounds=1", f"--out={out}"),
    )
    assert done.returncode == 0, done.stderr
    assert {"threads", "1 worker process"} == {*_rows(done.stdout)}
    results = json.loads(out.read_text())["results"]
    assert results["scan, threads"][0]["start_s"][0] > 0


@pytest.mark.runs
def test_loop_compares_an_epoch_with_its_parts(benchmark, folder, tmp_path):
    out = tmp_path / "loop.json"
    done = benchmark(
        *("loop", f"--data={folder}/train", *TINY, "--batch=4", "--scales=40,90"),
        *("--images=24", "--workers=1", f"--out={out}"),
    )
    assert done.returncode == 0, done.stderr
    # There are 17 images, so some of them are repeated.
    assert "An epoch of 6 steps" in done.stdout
    assert "of the epoch to their sum" in done.stdout
    assert all(len(each) == 1 for each in json.loads(out.read_text())["results"].values())


@pytest.mark.parametrize(("with_data", "images"), [(True, None), (True, 255), (False, 255)])
def test_a_loop_without_a_whole_batch_is_refused(folder, with_data, images):
    data, count = (str(folder / "train") if with_data else None), images or 17
    with pytest.raises(UserError, match=f"^{count} images are no whole batch of 256. Give a small"):
        loop.measure(
            dataclasses.replace(CASE, batch=256),
            RATES,
            data=data,
            images=images,
            train_scale=(256, 512),
            workers=0,
            rounds=1,
            limit_s=1.0,
        )


@pytest.mark.runs
def test_start_measures_the_first_step_twice(benchmark, tmp_path):
    out = tmp_path / "start.json"
    done = benchmark("start", *TINY, "--batch=2", "--workers=1", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "| second time |" in done.stdout
    results = json.loads(out.read_text())["results"]
    assert all(each[0]["seconds"][0] > 0 for each in results.values())


def test_start_names_the_error_of_a_run_that_ends():
    with pytest.raises(UserError, match=r"(?s)The run ended before its first step:.*no such file"):
        start.first_step_s([sys.executable, "-c", "print('no such file')"], 60)
