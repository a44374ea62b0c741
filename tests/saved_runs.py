"""Makes the workdir of a finished run of a few numbers, without training."""

import contextlib

import jax
import jax.numpy as jnp

from vgg_jax import base_config
from vgg_jax.evaluation import results
from vgg_jax.nets import sharding
from vgg_jax.runs import run_config, run_result
from vgg_jax.runs.checkpoints import Checkpoints, SavedRun
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.state import init_state
from vgg_jax.training import metrics
from vgg_jax.training.optimiser import sgd

FACTS = RunFacts(("x", "y"), "train", "val", (120.0, 110.0, 100.0), ("abc1234",))
TRAIN = {"loss": 2.0, "error": 50.0, "epoch": 1.0, "learning_rate": 0.01}
VAL = TRAIN | {"top1_error": 40.0, "top5_error": 0.0, "num_images": 3}


def like():
    """Returns the state of the run's checkpoints, with other values."""
    values = jax.random.normal(jax.random.key(0), (1, 1, 50, 40))
    state = init_state({"fc8": {"kernel": values, "bias": jnp.ones(3)}}, sgd(0.9, 5e-4))
    return sharding.put_replicated(state, sharding.make_mesh())


def save(workdir, *steps, mark=None):
    """Saves checkpoints whose validation errors rise."""
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        for step in steps:
            state = jax.tree.map(lambda leaf, step=step: leaf + step, like())
            config = run_config.fixed(base_config.get_config())
            progress = {"at": step, "log": mark, "config": config}
            checkpoints.save(
                state.replace(step=jnp.int32(step)), SavedRun(FACTS, progress), 40.0 + step
            )


def write_result(workdir, step=2):
    """Writes the result of a run of a few steps."""
    last = {"step": step, **VAL, "top1_error": 40.0 + step}  # `save` saves the same.
    run_result.write(workdir, {"last": last, "best": last, "commits": []})


def finished(workdir, posteriors):
    """Makes the workdir of a run that was evaluated."""
    run_config.save(base_config.get_config(), workdir)
    log = metrics.MetricsLog(workdir, start_step=0, total_steps=2, write=True)
    for step in (1, 2):
        log.train(step, TRAIN)
        log.val(step, VAL)
    log.close()
    save(workdir, 1, 2, mark=log.mark())
    write_result(workdir)
    file = workdir / "eval" / "val-dense-64.json"
    results.write_result(file, posteriors, "dense", {"split": "val", "method": "dense"})
    posteriors.save(file.with_suffix(".npz"))
    return workdir
