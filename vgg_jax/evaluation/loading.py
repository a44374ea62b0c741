"""Loads a trained net from its workdir."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import get_args

from ml_collections import FrozenConfigDict

from vgg_jax.errors import UserError, require, require_choice
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.nets import from_config, sharding
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.architectures import DType
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.settings import OddEdges
from vgg_jax.runs import first_params, run_config, saved_steps
from vgg_jax.runs.checkpoint_errors import until_not_pruned
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import compilation_cache


def load(
    workdir: str | Path,
    *,
    checkpoint: saved_steps.Which | None = None,
    dtype: DType | None = None,
    pooling: OddEdges | None = None,
) -> TrainedNet:
    """Loads a run's net onto all devices, and turns on the cache of compiled programs.

    Args:
      workdir: The run's folder.
      checkpoint: "last", or "best" for the checkpoint with the least validation error. None, here
        and below, means the `eval` setting of the run's config.
      dtype: The dtype of the arithmetic. With float32, products have the highest precision.
      pooling: See `vgg.VGG`.

    Raises:
      UserError: The workdir has no run or no checkpoint, or a damaged one, or there is no such
        choice of a checkpoint, a dtype or a pooling.
    """

    def read() -> TrainedNet:
        with _described(workdir, checkpoint, dtype, pooling) as (net, checkpoints):
            params = checkpoints.restore_params(net.params, net.step)
        return dataclasses.replace(net, inference=dataclasses.replace(net.inference, params=params))

    return until_not_pruned(read)


def outline(workdir: str | Path, *, dtype: DType | None = None) -> TrainedNet:
    """Returns what `load` does, with descriptions of the parameters in place of their values.

    Raises:
      UserError: See `load`.
    """

    def read() -> TrainedNet:
        with _described(workdir, None, dtype, None) as (net, _):
            return net

    return until_not_pruned(read)


@contextlib.contextmanager
def _described(
    workdir: str | Path,
    checkpoint: saved_steps.Which | None,
    dtype: DType | None,
    pooling: OddEdges | None,
) -> Iterator[tuple[TrainedNet, Checkpoints]]:
    """Opens a run's checkpoints, and describes the net: see `outline`."""
    for key, value, choices in (
        ("checkpoint", checkpoint, saved_steps.Which),
        ("dtype", dtype, DType),
        ("pooling", pooling, OddEdges),
    ):
        if value is not None:
            require_choice(key, value, get_args(choices))
    require(
        isinstance(workdir, str | os.PathLike) and workdir != "",
        f"workdir={workdir!r} must be the path of a run's folder: vgg_jax.load('runs/mine').",
    )
    workdir = files.path(os.fspath(workdir))
    if not saved_steps.has_checkpoint(workdir):
        train = "Train one: python -m vgg_jax.main --config=configs/NAME.py --workdir=..."
        raise UserError(run_config.no_run(workdir, train, what="checkpoint of a run"))
    c = run_config.existing(workdir)
    compilation_cache.keep(c.data.cache_dir)
    c.dtype = dtype or c.eval.dtype
    mesh = sharding.make_mesh()
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        step = checkpoints.step_of(checkpoint or c.eval.checkpoint)
        facts = checkpoints.restore_run(step).facts
        model = dataclasses.replace(
            from_config.model(c, len(facts.class_names)),
            pooling=pooling or c.eval.pooling,
        )
        inference = Inference(
            model=model,
            params=first_params.abstract_params(model, mesh, facts),
            mesh=mesh,
            normalise=Normalise(facts.mean_rgb, net_settings.input_scale(c)),
        )
        config = FrozenConfigDict(c)
        yield TrainedNet(inference, facts.class_names, config=config, step=step), checkpoints
