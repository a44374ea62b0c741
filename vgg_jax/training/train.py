"""Sets a run up, trains it, and writes its result."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from vgg_jax.data import crops
from vgg_jax.data import settings as data_settings
from vgg_jax.data.prefetch import Shard
from vgg_jax.data.source import Source
from vgg_jax.errors import UserError
from vgg_jax.nets import from_config, sharding
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.vgg import VGG, Params
from vgg_jax.runs import first_params, run_config
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.runs.state import TrainState, abstract_state, init_state
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import git_commit, processes
from vgg_jax.training import curves, metrics, parallel, step, stuck_at_chance, validation
from vgg_jax.training import settings as training_settings
from vgg_jax.training.loop import Loop, Progress
from vgg_jax.training.optimiser import sgd
from vgg_jax.training.plateau import PlateauRule, PlateauState


def train(
    c: ConfigDict,
    workdir: Path,
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
        changed since the checkpoint, the run to start from doesn't fit, the loss is not finite, or
        a checkpoint can't be written or read.
      StoppedError: A signal asked it to stop, and it has saved.
    """
    training_settings.check_divides(c, jax.device_count())
    is_writer = jax.process_index() == 0
    if c.batch_size > len(train_source):
        raise UserError(
            f"batch_size={c.batch_size} is more than the {len(train_source):,} training images."
        )
    num_classes = data_settings.resolve_num_classes(c.num_classes, train_source.class_names)
    # What must not change before the run resumes.
    data = {
        "class_names": list(train_source.class_names),
        "train_fingerprint": train_source.fingerprint,
        "val_fingerprint": val_source.fingerprint,
    }
    mesh = sharding.make_mesh(model_parallel=c.model_parallel)
    model = from_config.model(c, num_classes)
    optimiser = sgd(c.momentum, c.l2_penalty, c.trained_layers)
    steps_per_epoch = len(train_source) // c.batch_size

    processes.make_shared(workdir)
    commits = [processes.from_first(git_commit.commit)]
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir))
        if checkpoints.last_step is None:
            params = first_params.first_params(c, workdir, model, train_source.class_names, mesh)
            state = sharding.put_state(init_state(params, optimiser), mesh)
            progress = Progress(PlateauState(c.learning_rate))
        else:
            run = checkpoints.restore_run()
            _refuse_other_data(run, data)
            state = checkpoints.restore(abstract_state(model, optimiser, mesh))
            progress = Progress.from_json(run["progress"])
            mean_rgb = tuple(run["mean_rgb"])
            commits = [*run.get("commits", ()), *commits]  # Absent from the first checkpoints.
        start_step = int(state.step)
        if is_writer:
            run_config.save(c, workdir)
            print(
                f"{c.name}: net {c.net}, {_count(state.params):,} parameters, "
                f"{len(train_source):,} training and {len(val_source):,} validation images of "
                f"{num_classes} classes, {jax.device_count()} x {jax.devices()[0].device_kind}; "
                + (f"goes on at step {start_step:,}" if start_step else "starts"),
                flush=True,
            )
        stop = stack.enter_context(processes.stop_request())
        batches, val_batches = (
            stack.enter_context(contextlib.closing(b))
            for b in _batches(c, train_source, val_source, start_step)
        )
        log = stack.enter_context(
            contextlib.closing(
                metrics.MetricsLog(
                    workdir,
                    start_step=start_step,
                    validation_due=progress.validation_due,
                    total_steps=c.num_epochs * steps_per_epoch,
                    write=is_writer,
                )
            )
        )
        train_step, val_step = _compiled_steps(c, model, optimiser, mesh, mean_rgb)

        def validate(state: TrainState) -> validation.ValResult | None:
            epoch = int(state.step) // steps_per_epoch
            at_chance = is_writer and stuck_at_chance.warning(
                log.folder, c, epoch=epoch, steps_per_epoch=steps_per_epoch, num_classes=num_classes
            )
            if at_chance:
                log.note(at_chance)
            return validation.validate(
                lambda batch: val_step(state.params, batch),
                val_batches,
                num_batches=crops.num_val_batches(len(val_source), c.eval.batch_size),
                num_images=len(val_source),
                stop=stop,
            )

        # What this run is made of, whatever its step.
        made_of = data | {"commits": [commit for commit in dict.fromkeys(commits) if commit]}

        def save(state: TrainState, progress: Progress, top1_error: float | None) -> None:
            run = {"progress": dataclasses.asdict(progress), "mean_rgb": list(mean_rgb), **made_of}
            checkpoints.save(state, run, top1_error)

        loop = Loop(
            state=state,
            progress=progress,
            rule=PlateauRule(**c.plateau),
            num_epochs=c.num_epochs,
            steps_per_epoch=steps_per_epoch,
            checkpoint_every_steps=c.checkpoint_every_steps,
            log_every_steps=c.log_every_steps,
            batches=batches,
            train_step=train_step,
            validate=validate,
            save=save,
            log=log,
            batch_size=c.batch_size,
            stop=stop,
        )
        try:
            last_step = loop.run()
        except metrics.NotFiniteError as error:
            checkpoints.wait()
            raise _with_remedy(error, checkpoints) from error
        checkpoints.wait()
        if stop:
            raise stop.error(
                f"Stopped and saved at step {last_step:,}; the same command goes on from there."
                if checkpoints.last_step is not None
                else "Stopped before the first step; the same command starts anew."
            )
    return processes.from_first(lambda: _finish(c, workdir, made_of))


def _compiled_steps(
    c: ConfigDict,
    model: VGG,
    optimiser: optax.GradientTransformationExtraArgs,
    mesh: jax.sharding.Mesh,
    mean_rgb: tuple[float, float, float],
) -> tuple[Callable[..., tuple[TrainState, step.Metrics]], Callable[..., step.Metrics]]:
    split = sharding.split_batch(mesh)
    pixels = {
        "mean_rgb": np.asarray(mean_rgb, np.float32),
        "input_scale": net_settings.input_scale(c),
    }
    train_step = parallel.train_step(
        model,
        optimiser,
        mesh,
        seed=c.seed,
        colour_shift=c.colour_shift,
        micro_batches=c.micro_batches,
        trained_layers=c.trained_layers,
        **pixels,
    )
    val_step = parallel.val_step(model, mesh, **pixels)
    return (
        lambda state, batch, rate: train_step(state, sharding.put_batch(batch, split), rate),
        lambda params, batch: val_step(params, sharding.put_batch(batch, split)),
    )


def _batches(
    c: ConfigDict, train_source: Source, val_source: Source, start_step: int
) -> tuple[Iterator[crops.CropBatch], Iterator[crops.CropBatch]]:
    batching = functools.partial(
        crops.Batching,
        crop_px=c.crop_px,
        shard=Shard(jax.process_index(), jax.process_count()),
        num_workers=c.data.num_workers,
    )
    return (
        crops.train_batches(
            train_source,
            batching(c.batch_size),
            train_scale=tuple(c.train_scale),
            seed=c.seed,
            start_step=start_step,
        ),
        crops.val_batches(val_source, batching(c.eval.batch_size), val_scale=c.val_scale),
    )


def _count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


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
        "the default initialisation (init=he, input_scale=0) if this run has another."
    )


def _finish(c: ConfigDict, workdir: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    history = metrics.read(workdir, "val")
    # Of equal errors the last is the best, as `Checkpoints` keeps it.
    last, best = history[-1], min(reversed(history), key=lambda record: record["top1_error"])
    curves.draw(workdir, f"{c.name}: net {c.net}, top-1 error {last['top1_error']:.2f}%")
    keys = ("commits", "train_fingerprint", "val_fingerprint")
    result = {"last": last, "best": best} | {key: made_of[key] for key in keys}
    files.write_text(workdir / "result.json", json.dumps(result, indent=2) + "\n")
    return result
