"""The training loop."""

import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from vgg_jax import chain, config, curves, evaluate, metrics, optim, pipeline, sharding, step
from vgg_jax.checkpoint import Checkpoints
from vgg_jax.errors import UserError
from vgg_jax.model import VGG, Params, init_params, preinitialise
from vgg_jax.optim import PlateauState
from vgg_jax.sources import Source
from vgg_jax.step import TrainState


def train(
    c: ConfigDict,
    workdir: pathlib.Path,
    train_source: Source,
    val_source: Source,
    mean_rgb: tuple[float, float, float],
) -> dict[str, Any]:
    """Trains to the end of the plateau rule or of the epochs, from wherever the workdir is.

    Args:
      c: A config that `config.validate` has passed.
      workdir: Empty, or this run's.
      train_source: Images to train on.
      val_source: Images for the validation after each epoch.
      mean_rgb: 0-255, to subtract; a run that resumes keeps the one that it began with.

    Returns:
      The result, as written to workdir/result.json.

    Raises:
      UserError: The batch doesn't divide over the devices or exceeds the data, the data has
        changed since the checkpoint, the run to start from doesn't fit, or the loss is not finite.
    """
    config.check_divides(c, jax.device_count())
    is_writer = jax.process_index() == 0
    if c.batch_size > len(train_source):
        raise UserError(
            f"batch_size={c.batch_size} is more than the {len(train_source):,} training images."
        )
    num_classes = config.resolve_num_classes(c.num_classes, train_source.class_names)
    # What must not change before the run resumes.
    data = {
        "class_names": list(train_source.class_names),
        "train_fingerprint": train_source.fingerprint,
        "val_fingerprint": val_source.fingerprint,
    }
    mesh = sharding.make_mesh()
    model = model_from_config(c, num_classes)
    optimiser = optim.sgd(c.momentum, c.l2_penalty)
    steps_per_epoch = len(train_source) // c.batch_size

    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(contextlib.closing(Checkpoints(workdir)))
        if checkpoints.last_step is None:
            state = step.init_state(_first_params(c, workdir, model, mesh), optimiser)
            plateau = PlateauState(c.learning_rate)
        else:
            run = checkpoints.restore_run()
            _refuse_other_data(run, data)
            state = checkpoints.restore(step.init_state(_zeros(model, mesh), optimiser))
            plateau = PlateauState(**run["plateau"])
            mean_rgb = tuple(run["mean_rgb"])
        state = sharding.put_replicated(state, mesh)
        start_step = int(state.step)
        if is_writer:
            config.save(c, workdir)
            print(
                f"{c.name}: net {c.net}, {_count(state.params):,} parameters, "
                f"{len(train_source):,} training and {len(val_source):,} validation images of "
                f"{num_classes} classes, {jax.device_count()} x {jax.devices()[0].device_kind}; "
                + (f"goes on at step {start_step:,}" if start_step else "starts")
            )
        batches, val_batches = (
            stack.enter_context(contextlib.closing(b))
            for b in _batches(c, train_source, val_source, start_step)
        )
        log = stack.enter_context(
            contextlib.closing(
                metrics.MetricsLog(
                    workdir,
                    start_step=start_step,
                    total_steps=c.num_epochs * steps_per_epoch,
                    write=is_writer,
                )
            )
        )
        train_step, val_step = _compiled_steps(c, model, optimiser, mesh, mean_rgb)

        def validate(params: Params) -> evaluate.ValResult:
            return evaluate.validate(
                lambda batch: val_step(params, batch),
                val_batches,
                num_batches=pipeline.num_val_batches(len(val_source), c.eval.batch_size),
                num_images=len(val_source),
            )

        def save(state: TrainState, plateau: PlateauState, top1_error: float | None) -> None:
            run = {"plateau": dataclasses.asdict(plateau), "mean_rgb": list(mean_rgb), **data}
            checkpoints.save(state, run, top1_error)

        try:
            _loop(c, steps_per_epoch, state, plateau, batches, train_step, validate, save, log)
        except metrics.NotFiniteError as error:
            checkpoints.wait()
            raise _with_remedy(error, checkpoints) from error
    return _finish(c, workdir) if is_writer else {}


def _loop(
    c: ConfigDict,
    steps_per_epoch: int,
    state: TrainState,
    plateau: PlateauState,
    batches: Iterator[pipeline.Batch],
    train_step: Callable[..., tuple[TrainState, step.Metrics]],
    validate: Callable[[Params], evaluate.ValResult],
    save: Callable[[TrainState, PlateauState, float | None], None],
    log: metrics.MetricsLog,
) -> None:
    rule = optim.PlateauRule(**c.plateau)
    window = metrics.Window(log, batch_size=c.batch_size, steps_per_epoch=steps_per_epoch)
    for done in range(int(state.step) + 1, c.num_epochs * steps_per_epoch + 1):
        if plateau.ended:
            return
        before = time.perf_counter()
        batch = next(batches)
        waited_s = time.perf_counter() - before
        state, step_metrics = train_step(state, batch, np.float32(plateau.learning_rate))
        window.add(step_metrics, waited_s)

        ends_epoch = done % steps_per_epoch == 0
        saves = ends_epoch or done % c.checkpoint_every_steps == 0
        if saves or done % c.log_every_steps == 0:
            window.end(done, plateau.learning_rate)
        if not saves:
            continue
        window.flush()
        if not _all_finite(state):
            raise metrics.NotFiniteError(
                f"A parameter is not finite after step {done}, at learning rate "
                f"{plateau.learning_rate:g}."
            )
        result = None
        if ends_epoch:
            result = validate(state.params)
            if not math.isfinite(result.loss):
                raise metrics.NotFiniteError(
                    f"The validation loss is {result.loss} after step {done}, at learning rate "
                    f"{plateau.learning_rate:g}."
                )
            log.val(
                done,
                {
                    "epoch": done // steps_per_epoch,
                    "learning_rate": plateau.learning_rate,
                    **dataclasses.asdict(result),
                },
            )
            plateau = optim.plateau_step(rule, plateau, result.top1_error)
        save(state, plateau, result.top1_error if result else None)
        window.restart()


def model_from_config(c: ConfigDict, num_classes: int) -> VGG:
    """Builds the net that a config describes."""
    return VGG(
        net=c.net,
        num_classes=num_classes,
        width=c.width,
        crop_px=c.crop_px,
        dropout=c.dropout,
        kernel_init=c.init,
        sigma=c.init_sigma,
        dtype=jnp.dtype(c.dtype),
    )


def _compiled_steps(
    c: ConfigDict,
    model: VGG,
    optimiser: optax.GradientTransformationExtraArgs,
    mesh: jax.sharding.Mesh,
    mean_rgb: tuple[float, float, float],
) -> tuple[Callable[..., tuple[TrainState, step.Metrics]], Callable[..., step.Metrics]]:
    split, copied = sharding.split_batch(mesh), sharding.replicated(mesh)
    pixels = {"mean_rgb": np.asarray(mean_rgb, np.float32), "input_scale": c.input_scale}
    train_step = jax.jit(
        step.make_train_step(model, optimiser, seed=c.seed, colour_shift=c.colour_shift, **pixels),
        donate_argnums=0,
        in_shardings=(copied, split, copied),
        out_shardings=copied,
    )
    val_step = jax.jit(
        step.make_val_step(model, **pixels), in_shardings=(copied, split), out_shardings=copied
    )
    return (
        lambda state, batch, rate: train_step(state, sharding.put_batch(batch, split), rate),
        lambda params, batch: val_step(params, sharding.put_batch(batch, split)),
    )


def _batches(
    c: ConfigDict, train_source: Source, val_source: Source, start_step: int
) -> tuple[Iterator[pipeline.Batch], Iterator[pipeline.Batch]]:
    shard = pipeline.Shard(jax.process_index(), jax.process_count())
    return (
        pipeline.train_batches(
            train_source,
            batch_size=c.batch_size,
            train_scale=tuple(c.train_scale),
            crop_px=c.crop_px,
            seed=c.seed,
            start_step=start_step,
            shard=shard,
            num_workers=c.data.num_workers,
        ),
        pipeline.val_batches(
            val_source,
            batch_size=c.eval.batch_size,
            val_scale=c.val_scale,
            crop_px=c.crop_px,
            shard=shard,
            num_workers=c.data.num_workers,
        ),
    )


def _first_params(
    c: ConfigDict, workdir: pathlib.Path, model: VGG, mesh: jax.sharding.Mesh
) -> Params:
    source = chain.resolve(c.init_from, workdir)

    def drawn() -> Params:
        return jax.jit(init_params, static_argnums=0)(model, jax.random.key(c.seed))

    if source is None:
        return drawn()
    other = config.load(source)
    with contextlib.closing(Checkpoints(source)) as checkpoints:
        num_classes = len(checkpoints.restore_run()["class_names"])
        trained_model = model_from_config(other, num_classes)
        trained = checkpoints.restore_params(_zeros(trained_model, mesh))
    if num_classes != model.num_classes:
        raise UserError(
            f"This run starts from {source}, which has {num_classes} classes, and the data set "
            f"has {model.num_classes}. Start from a run on the same classes."
        )
    return trained if c.init_layers == "all" else preinitialise(drawn(), trained)


def _zeros(model: VGG, mesh: jax.sharding.Mesh) -> Params:
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return sharding.put_replicated(zeros, mesh)


def _count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@jax.jit
def _all_finite(state: TrainState) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _refuse_other_data(run: dict[str, Any], data: dict[str, Any]) -> None:
    for key, what in (
        ("class_names", "classes"),
        ("train_fingerprint", "training images"),
        ("val_fingerprint", "validation images"),
    ):
        if run[key] != data[key]:
            raise UserError(
                f"The {what} are not those that this run began with. Bring the data set back to "
                "what it was, or choose another --workdir."
            )


def _with_remedy(error: Exception, checkpoints: Checkpoints) -> UserError:
    last = checkpoints.last_step
    kept = (
        f"The last good checkpoint is {checkpoints.directory / str(last)}."
        if last is not None
        else "No checkpoint was saved yet."
    )
    return UserError(
        f"{error} Training has stopped; nothing that is not finite was saved. {kept}\n"
        "In a new --workdir, try a lower --config.learning_rate, a larger --config.batch_size, or "
        "the default initialisation (init=he, input_scale=1/70) if this run has another."
    )


def _finish(c: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    history = metrics.read(workdir, "val")
    # Of equal errors the last is the best, as `Checkpoints` keeps it.
    last, best = history[-1], min(reversed(history), key=lambda record: record["top1_error"])
    curves.draw(workdir, f"{c.name}: net {c.net}, top-1 error {last['top1_error']:.2f}%")
    result = {"last": last, "best": best}
    partial = workdir / "result.json.partial"
    partial.write_text(json.dumps(result, indent=2) + "\n")
    partial.replace(workdir / "result.json")
    return result
