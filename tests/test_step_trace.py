"""The trace of a few training steps that `main --profile` writes."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.training import step_trace


def test_steps_are_traced_after_the_first_ones(tmp_path):
    notes, double = [], jax.jit(lambda x: 2 * x)
    trace = step_trace.StepTrace(tmp_path, notes.append)
    step = trace.of(double)
    x = jnp.ones(())
    for _ in range(step_trace.FIRST + step_trace.COUNT + 1):
        x = step(x)
    trace.close()

    assert x == 2 ** (step_trace.FIRST + step_trace.COUNT + 1)
    (found,) = tmp_path.rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(found.read_bytes()))["traceEvents"]
    assert any("<lambda>" in str(event.get("name")) for event in events)
    (note,) = notes
    assert note.startswith(f"A trace of {step_trace.COUNT} steps is in {tmp_path / 'profile'}.")


def test_a_run_that_ends_during_the_trace_still_writes_it(tmp_path):
    notes = []
    trace = step_trace.StepTrace(tmp_path, notes.append)
    step = trace.of(lambda: None)
    for _ in range(step_trace.FIRST + 2):
        step()
    trace.close()

    assert notes[0].startswith("A trace of 2 steps")
    assert [*tmp_path.rglob("perfetto_trace.json.gz")]


def test_a_start_of_too_few_steps_says_that_nothing_was_traced(tmp_path):
    notes = []
    trace = step_trace.StepTrace(tmp_path, notes.append)
    trace.of(lambda: None)()
    trace.close()

    assert notes == [
        "Nothing was traced: training ended within its first 5 steps, which are left out."
    ]


@pytest.mark.runs
def test_a_run_is_traced_if_it_trains(folder, tmp_path, run_main):
    flags = small_runs.one_epoch(folder, tmp_path / "run", "--config.num_epochs=4", "--profile")
    ended = small_runs.run_process(*flags, "--config.eval.method=none")
    assert ended.returncode == 0, ended.stderr
    assert f"A trace of 3 steps is in {tmp_path / 'run' / 'profile'}." in ended.stderr
    assert [*(tmp_path / "run" / "profile").rglob("perfetto_trace.json.gz")]

    for mode, message in (
        ("train", "--profile traces training steps, and this run has none left."),
        ("eval", "--profile traces training steps, so it needs --mode=train."),
        ("verify", "--profile traces training steps, so it needs --mode=train."),
    ):
        with pytest.raises(UserError, match=message):
            run_main(f"--workdir={tmp_path / 'run'}", f"--mode={mode}", "--profile")
