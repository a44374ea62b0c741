"""An epoch of this code's training loop, its steps by themselves, or its input by itself."""

import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np

from launch.benchmark.case import Case
from launch.benchmark.sides import jax_step, process
from vgg_jax.data import crops
from vgg_jax.data.pooled import open_images
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.sources.shapes import ShapesSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.nets import sharding
from vgg_jax.nets.sharding import STEPS_IN_FLIGHT
from vgg_jax.runs.state import TrainState
from vgg_jax.system.signals import StopRequest
from vgg_jax.training.loop import Loop, Progress, Timetable, Work
from vgg_jax.training.metrics import MetricsLog
from vgg_jax.training.metrics_window import Window
from vgg_jax.training.schedules.constant import Constant
from vgg_jax.training.step import Batch
from vgg_jax.training.validation import ValResult


def measure(
    case: dict[str, Any],
    part: Literal["epoch", "steps", "input"],
    data: str | None,
    count: int | None,
    train_scale: list[int],
    workers: int,
    cache_dir: str,
) -> dict[str, Any]:
    """Times one epoch, after another one that isn't timed.

    Args:
      case: The fields of a `Case`.
      part: What is timed: the loop, its steps with one batch again and again, or its input.
      data: A folder of class folders; None for the embedded data set.
      count: How many images an epoch has; they are repeated if there are fewer. None for all.
      train_scale: The smallest and the largest S, in px.
      workers: Worker processes that decode; 0 for threads.
      cache_dir: The folder that holds the embedded data set.
    """
    case, source = Case(**case), _source(data, count, cache_dir)
    steps = len(source) // case.batch
    if part == "steps":
        call = jax_step.training_step(case)
        return {"seconds": [_second_epoch(lambda: call()[1], steps)], "steps": steps}
    made = crops.train_batches(
        source,
        crops.Batching(case.batch, case.crop_px, num_workers=workers),
        train_scale=(train_scale[0], train_scale[1]),
        seed=0,
    )
    place = sharding.split_batch(sharding.make_mesh(jax.devices()[:1]))
    batches = (sharding.put_batch(batch, place) for batch in made)
    if part == "input":
        seconds = _second_epoch(lambda: next(batches), steps)
    else:
        seconds = _second_epoch_of_loop(case, batches, steps)
    made.close()
    return {"seconds": [seconds], "steps": steps}


def _source(data: str | None, count: int | None, cache_dir: str) -> Source:
    if data is None:
        source = ShapesSource(DataSpec("shapes", "", "train", "", cache_dir), "train")
    else:
        source = open_images(data)
    return Subset(source, np.arange(count or len(source)) % len(source))


def _second_epoch(call: Callable[[], Any], steps: int) -> float:
    """Returns the seconds of as many calls as an epoch has, after as many others."""
    for _ in range(2):
        begin_s, results = time.perf_counter(), []
        for _ in range(steps):
            results.append(call())
            if len(results) > STEPS_IN_FLIGHT:  # The loop waits like this too.
                jax.block_until_ready(results.pop(0))
        jax.block_until_ready(results)
    return time.perf_counter() - begin_s


def _second_epoch_of_loop(case: Case, batches: Iterator[Batch], steps: int) -> float:
    """Returns the seconds of the loop's second epoch, without validation and saving."""
    step, state, _ = jax_step.step_and_state(case)
    ends_s: list[float] = []

    def validate(state: TrainState) -> ValResult:
        jax.block_until_ready(state)
        ends_s.append(time.perf_counter())
        return ValResult(top1_error=0.0, top5_error=0.0, loss=0.0, num_images=1)

    with tempfile.TemporaryDirectory(prefix="benchmark") as folder:
        log = MetricsLog(pathlib.Path(folder), start_step=0, total_steps=2 * steps, write=True)
        Loop(
            state,
            Progress(Constant(case.learning_rate, warmup_epochs=0.0)),
            Timetable(2, steps, log_every_steps=20, checkpoint_every_steps=2 * steps + 1),
            Work(batches, step, validate, save=lambda *_: None),
            Window(log, batch_size=case.batch, steps_per_epoch=steps),
            StopRequest(),
        ).run()
        log.close()
    return ends_s[1] - ends_s[0]


if __name__ == "__main__":
    process.run(measure, without=())
