"""How long a sweep's tasks take: measured where the same task was done with another seed."""

import dataclasses
import json

import made_sweeps
import pytest

from launch.plan import finished, graph, preview, selection, times
from launch.plan.sweep_spec import Sweep
from vgg_jax.evaluation.result_key import ResultKey
from vgg_jax.storage import sealed_json

# 7 steps of 256 images at the median of 2 images/s take 896 s.
RECORDS = ((1, 1.0), (3, 2.0), (7, 4.0))


@pytest.fixture
def sweep(tmp_path):
    """Two seeds, of which the first has trained a_256."""
    sweep = Sweep(tmp_path, seeds=2)
    made_sweeps.train(sweep, "a_256", 0)
    workdir = sweep.workdir("a_256", 0)
    lines = [
        {"kind": "train", "step": step, "loss": 1.0, "images_per_s": rate} for step, rate in RECORDS
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return sweep


def _planned(sweep, runs):
    tasks = graph.tasks(sweep, selection.of_runs(runs))
    return tasks, finished.done(tasks)


def test_a_task_takes_as_long_as_with_another_seed(sweep):
    tasks, done = _planned(sweep, ["a_256"])
    seconds = times.of_tasks(tasks, done)
    assert seconds["a_256"] == seconds["seed_1/a_256"] == 7 * 256 / 2
    text = preview.commands(tasks, done, seconds)
    assert "waits for nothing; is done, took 14:56\n" in text
    assert "waits for nothing; will take about 14:56\n" in text
    summary = times.summary(tasks, done, seconds)
    assert "of those that are left will take about " in summary


def test_what_was_not_measured_is_not_guessed(sweep):
    tasks, done = _planned(sweep, ["b_256"])
    seconds = times.of_tasks(tasks, done)
    assert not {name for name in seconds if "b_256" in name}
    assert "4 tasks will take isn't known yet" in times.summary(tasks, done, seconds)


def test_an_evaluation_took_the_time_of_all_its_passes(sweep):
    (task,) = (t for t in _planned(sweep, ["a_256"])[0] if t.name == "a_256-dense")
    key = ResultKey("validation", "dense", (256,))
    one = {"seconds": 100.0, "compile_s": 20.0}
    path = key.result_path(sweep.workdir("a_256", 0))
    path.parent.mkdir()
    result = {"split": "validation", "method": "dense", "num_images": 60}
    averaged = {"average_of": {"256": one, "288": one}}
    sealed_json.write(path, result | {"made_by": averaged})
    task = dataclasses.replace(task, result=path)
    assert times.of_tasks([task], [task.name]) == {"a_256-dense": 240.0}
