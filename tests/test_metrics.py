"""The log, the window that writes to it late, and the curves that are drawn from it."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from matplotlib.figure import Figure
from PIL import Image

from vgg_jax.errors import UserError
from vgg_jax.plots import curves, picture_file
from vgg_jax.training import metrics, metrics_file, metrics_window

TRAIN = {"loss": 2.0, "error": 50.0, "images_per_s": 10.0, "learning_rate": 0.01}
VAL = {"epoch": 1, "top1_error": 40.0, "top5_error": 10.0, "loss": 1.5, "learning_rate": 0.01}


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def open_at(start_step=0, *, write=True):
        opened.append(
            metrics.MetricsLog(tmp_path, start_step=start_step, total_steps=100, write=write)
        )
        return opened[-1]

    yield open_at
    for log in opened:
        log.close()


def _lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def _step(loss, error=50.0):
    return {"loss": jnp.float32(loss), "error": jnp.float32(error)}


# The log.


def test_records_are_lines(tmp_path, open_log):
    log = open_log()
    log.train(5, TRAIN)
    log.val(10, VAL)
    # The log isn't closed: what a killed process has logged is there too.
    assert _lines(tmp_path) == [
        {"kind": "train", "step": 5, **TRAIN},
        {"kind": "val", "step": 10, **VAL},
    ]
    assert metrics_file.read(tmp_path, "val") == [{"kind": "val", "step": 10, **VAL}]
    assert [record["step"] for record in metrics_file.read(tmp_path, "train")] == [5]


def test_records_are_tensorboard_events(tmp_path, open_log):
    log = open_log()
    log.train(5, TRAIN)
    log.val(10, VAL)
    log.close()
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    for tag in (b"train/loss", b"train/images_per_s", b"val/top1_error"):
        assert tag in events


FILLS = """
import contextlib, pathlib, resource, sys
from vgg_jax.training.events import Events
resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
events = Events(pathlib.Path(sys.argv[1]), start_step=0)
with contextlib.closing(events):
    for step in range(10**4):
        events.add("train", step, {"loss": 1.0})
"""


def test_events_on_a_full_disk_are_an_error_with_their_path(tmp_path):
    command = [sys.executable, "-c", FILLS, str(tmp_path)]
    done = subprocess.run(
        command, cwd=small_runs.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    (path,) = tmp_path.iterdir()
    assert f"File too large: '{path}'" in done.stderr
    assert "Exception in thread" not in done.stderr


WITHOUT_TORCH = """
import pathlib, sys
from vgg_jax.training.events import Events
events = Events(pathlib.Path(sys.argv[1]), start_step=0)
events.add("train", 1, {"loss": 1.0})
events.close()
print("torch" in sys.modules)
import torch
"""


def test_events_do_not_import_pytorch(tmp_path):
    """tensorboardX would, and that takes a second."""
    (tmp_path / "torch.py").write_text("print('PyTorch is imported')")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "events")],
        cwd=small_runs.ROOT,
        env=small_runs.environment(PYTHONPATH=tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\nPyTorch is imported\n", done.stderr


def test_a_process_that_does_not_write_leaves_nothing(tmp_path, open_log):
    log = open_log(write=False)
    log.train(5, TRAIN)
    log.val(10, VAL)
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_the_bar_and_the_validation_are_shown(open_log, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = open_log()
    log.compiled(12.34)
    log.advance()
    log.val(10, VAL)
    log.train(12, TRAIN)
    log.close()
    out, err = capsys.readouterr()
    assert "epoch   1: top-1 error  40.00%  top-5 error  10.00%  validation loss 1.5" in out + err
    assert "compiling the first step" in err
    assert "compiled in 12.3 s, computing the first step" in err
    assert "12/100" in err
    assert "loss 2.000, error 50.0%, 10 images/s" in err


@pytest.mark.parametrize(
    ("rate", "shown"), [(1e-5, "1e-05"), (0.1, "0.1"), (0.00975528, "0.00976"), (0.0, "0")]
)
def test_a_rate_is_shown_with_three_digits_at_most(open_log, capsys, rate, shown):
    log = open_log()
    log.val(10, VAL | {"learning_rate": rate})
    log.close()
    assert f"  rate {shown}\n" in "".join(capsys.readouterr())


@pytest.mark.parametrize("half", ["", '{"kind": "train", "st', '{"kind": "train", "step": 3}'])
def test_reopening_at_a_step_leaves_out_what_lies_beyond(tmp_path, open_log, half):
    log = open_log()
    for step in (1, 2, 3, 4):
        log.train(step, TRAIN)
        log.val(step, VAL)
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(half)
    log = open_log(2)
    log.train(3, TRAIN | {"loss": 9.0})
    assert [(r["kind"], r["step"], r["loss"]) for r in _lines(tmp_path)] == [
        ("train", 1, 2.0),
        ("val", 1, 1.5),
        ("train", 2, 2.0),
        ("val", 2, 1.5),
        ("train", 3, 9.0),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}


def test_a_half_written_line_is_not_read(tmp_path, open_log):
    log = open_log()
    log.train(1, TRAIN)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 2')
    assert [record["step"] for record in metrics_file.read(tmp_path, "train")] == [1]


# The window.


def test_a_window_is_logged_when_the_next_is_full(tmp_path, open_log):
    window = metrics_window.Window(open_log(), batch_size=32, steps_per_epoch=4)
    for loss, error in [(1.0, 80.0), (2.0, 60.0)]:
        window.add(_step(loss, error), 0.0)
    window.end(2, 0.01)
    assert _lines(tmp_path) == []
    for loss in (4.0, 5.0, 9.0):
        window.add(_step(loss), 0.0)
    window.end(5, 0.001)
    (first,) = _lines(tmp_path)
    assert (first["kind"], first["step"]) == ("train", 2)
    assert (first["loss"], first["error"]) == (1.5, 70.0)
    assert (first["learning_rate"], first["epoch"]) == (0.01, 0.5)
    window.flush()
    _, second = _lines(tmp_path)
    assert (second["step"], second["loss"], second["learning_rate"]) == (5, 6.0, 0.001)
    window.flush()
    assert len(_lines(tmp_path)) == 2


def test_the_rates_are_of_the_steps_that_the_window_saw_done(tmp_path, open_log, monkeypatch):
    clock = iter([0.0, 10.0, 14.0, 14.0, 100.0, 102.0, 102.0])
    monkeypatch.setattr(metrics_window.time, "perf_counter", lambda: next(clock))
    window = metrics_window.Window(open_log(write=True), batch_size=32, steps_per_epoch=4)
    window.add(_step(1.0), 5.0)  # It compiles until 10 s, which doesn't count.
    window.add(_step(1.0), 1.0)
    for _ in range(metrics_window.STEPS_IN_FLIGHT + 1):
        window.add(_step(1.0), 0.0)
    window.end(3, 0.01)  # At 14 s.
    window.restart_clock()  # At 100 s, after a validation.
    window.add(_step(1.0), 1.5)
    window.end(4, 0.01)  # At 102 s, when no step is known to be done.
    window.flush()
    first, second = _lines(tmp_path)
    assert (first["images_per_s"], first["input_wait_share"]) == (2 * 32 / 4, 0.25)
    assert "images_per_s" not in second
    assert "input_wait_share" not in second


def test_more_steps_than_may_be_in_flight(tmp_path, open_log):
    window = metrics_window.Window(open_log(), batch_size=1, steps_per_epoch=1)
    losses = np.arange(3 * metrics_window.STEPS_IN_FLIGHT)
    for loss in losses:
        window.add(_step(loss), 0.0)
        assert len(window._in_flight) <= metrics_window.STEPS_IN_FLIGHT
    window.end(len(losses), 0.01)
    window.flush()
    assert _lines(tmp_path)[0]["loss"] == losses.mean()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_is_not_logged(tmp_path, open_log, loss):
    window = metrics_window.Window(open_log(), batch_size=1, steps_per_epoch=10)
    window.add(_step(1.0), 0.0)
    window.end(1, 0.01)
    window.add(_step(1.0), 0.0)
    window.add(_step(loss), 0.0)
    window.end(3, 0.01)
    with pytest.raises(
        metrics_window.NotFiniteError, match=r"in steps 2 to 3, at learning rate 0\.01"
    ):
        window.flush()
    assert [record["step"] for record in _lines(tmp_path)] == [1]
    window.flush()
    assert [record["step"] for record in _lines(tmp_path)] == [1]
    assert issubclass(metrics_window.NotFiniteError, UserError)


# The curves.


def _log_run(log, rates):
    for epoch, rate in enumerate(rates, start=1):
        for part in (0.5, 1.0):
            step = int(10 * (epoch - 1 + part))
            log.train(step, TRAIN | {"epoch": epoch - 1 + part, "learning_rate": rate})
        log.val(10 * epoch, VAL | {"epoch": epoch, "learning_rate": rate})


def _draw(workdir, title="net A"):
    path = workdir / "curves.png"
    figure = curves.figure(
        metrics_file.read(workdir, "train"), metrics_file.read(workdir, "val"), title
    )
    picture_file.write(figure, path, dpi=110)
    return path


def test_the_curves_are_a_picture(tmp_path, open_log):
    _log_run(open_log(), [0.01, 0.01])
    path = _draw(tmp_path, "mini_a_256: net A")
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > 2 * image.height
        pixels = np.asarray(image.convert("RGB"))
    # The colours of both curves are there.
    for colour in ((255, 127, 14), (44, 160, 44)):
        assert (pixels == colour).all(-1).sum() > 50


def test_a_drop_of_the_rate_shows(tmp_path, open_log):
    pictures = []
    for rates in ([0.01, 0.01, 0.01], [0.01, 0.01, 0.001]):
        _log_run(open_log(), rates)
        with Image.open(_draw(tmp_path)) as image:
            pictures.append(np.asarray(image))
    assert (pictures[0] != pictures[1]).any()
    _log_run(open_log(), [0.01, 0.01, 0.01])
    with Image.open(_draw(tmp_path)) as image:
        np.testing.assert_array_equal(np.asarray(image), pictures[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("rates", "lowest"),
    [([0.0, 0.01, 0.0], 1e-3), ([0.0, 0.01, 1e-9], 1e-6), ([0.01], 1e-3), ([0.01, 1e-4], 1e-4)],
)
def test_the_panel_of_the_rate_shows_a_decade_to_four(tmp_path, open_log, rates, lowest):
    _log_run(open_log(), rates)
    assert _draw(tmp_path).stat().st_size > 1000
    axes = Figure().subplots()
    curves._scale(axes, rates)
    np.testing.assert_allclose(axes.get_ylim(), (lowest / 1.5, 0.01 * 1.5))


def test_a_rate_that_is_always_zero_can_be_drawn(tmp_path, open_log):
    _log_run(open_log(), [0.0])
    assert _draw(tmp_path).stat().st_size > 1000


def test_one_epoch_can_be_drawn(tmp_path, open_log):
    _log_run(open_log(), [0.01])
    assert _draw(tmp_path).stat().st_size > 1000
