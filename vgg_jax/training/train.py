"""Sets a run up and trains it to its end."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from vgg_jax import safe_text
from vgg_jax.data import crops, shuffle, workers
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decodable import TrainingSplits
from vgg_jax.data.imagenet import forms
from vgg_jax.data.prefetch import Shard
from vgg_jax.errors import UserError
from vgg_jax.nets import from_config, sharding
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.label_rank import has_top5
from vgg_jax.nets.pixels import Normalise
from vgg_jax.runs import checkpoint_errors, net_input, run_config, run_result
from vgg_jax.runs.checkpoints import Checkpoints, SavedRun
from vgg_jax.runs.facts import RunFacts
from vgg_jax.runs.first_params import first_params
from vgg_jax.runs.state import TrainState, abstract_state, init_state
from vgg_jax.storage.files import Path
from vgg_jax.system import git_commit, jax_devices, processes
from vgg_jax.system.signals import StopRequest
from vgg_jax.training import parallel, run_end, schedules, stuck_at_chance, validation
from vgg_jax.training import settings as training_settings
from vgg_jax.training.loop import Loop, Progress, Timetable, Work
from vgg_jax.training.metrics import MetricsLog
from vgg_jax.training.metrics_window import NotFiniteError, Window
from vgg_jax.training.optimiser import sgd
from vgg_jax.training.step import Recipe
from vgg_jax.training.step_trace import StepTrace
from vgg_jax.training.validation import ValResult

_MOST_LISTED = 10  # Data sets of more classes aren't listed when a run begins.


def train(
    c: ConfigDict, workdir: Path, images: TrainingSplits, *, profile: bool = False
) -> dict[str, Any]:
    """Trains a run to its end, from its last checkpoint if there is one.

    The end is where the schedule ends training, or where all epochs are done.

    Args:
      c: A config that has passed `config.validate`.
      workdir: An empty folder, or the workdir of this run.
      images: The images to train on, and to validate on after each epoch.
      profile: Whether to trace a few steps: see `step_trace`.

    Returns:
      The result, as written to workdir/result.json.

    Raises:
      UserError: The batch doesn't divide over the devices or is larger than the training set, the
        data has changed since the checkpoint, the run to start from doesn't fit, the loss is not
        finite, or a checkpoint can't be written or read.
      StoppedError: A signal asked the run to stop; all steps that were done are saved.
    """
    run = _Run(c, images)
    processes.make_shared(workdir)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir))
        opened = run.open(checkpoints, workdir)
        start_step = int(opened.state.step)
        if jax.process_index() == 0:
            run_result.remove(workdir)  # This run was finished, and now has more epochs.
            run_config.save(opened.config, workdir)
            print(run.headline(opened), flush=True)
        stop = stack.enter_context(processes.stop_request())
        train_batches, val_batches = (
            stack.enter_context(contextlib.closing(batches)) for batches in run.batches(start_step)
        )
        log = stack.enter_context(contextlib.closing(run.log(workdir, start_step, opened)))
        work = run.work(opened, train_batches, val_batches, checkpoints, log, stop)
        if profile and jax.process_index() == 0:
            trace = stack.enter_context(contextlib.closing(StepTrace(workdir, log.note)))
            work = dataclasses.replace(work, train_step=trace.of(work.train_step))
        window = run.window(log, opened.progress)
        loop = Loop(opened.state, opened.progress, run.timetable, work, window, stop)
        try:
            last_step = loop.run()
        except NotFiniteError as error:
            checkpoints.wait()
            raise _with_remedy(error, checkpoints) from error
        checkpoints.wait()
        if stop:
            raise stop.error(
                f"Stopped and saved at step {last_step:,}; the same command goes on from there."
                if checkpoints.last_step is not None
                else "Stopped before the first step; the same command starts the run again."
            )
    return processes.from_first(
        lambda: run_end.write(c, workdir, opened.facts, loop.ended_by_schedule), dict
    )


class _Opened(NamedTuple):
    """A run that was restored from its last checkpoint, or begun.

    Attributes:
      state, progress: The first step's.
      config: The run's config, with the input scale that the run has.
      facts: The facts that don't change from step to step, with the run's mean.
      start: A clause that says where the run starts; a warning may follow on a line of its own.
      log_mark: See `MetricsLog`.
    """

    state: TrainState
    progress: Progress
    config: ConfigDict
    facts: RunFacts
    start: str
    log_mark: Mapping[str, Any] | None = None


class _Run:
    """The parts of a run, made from its config and its images.

    Attributes:
      timetable: The run's length, and how often it logs and saves.
    """

    def __init__(self, c: ConfigDict, images: TrainingSplits) -> None:
        training_settings.check_divides(c, len(jax_devices.found()))
        num_images, names = len(images.train_source), images.train_source.class_names
        if c.batch_size > num_images:
            raise UserError(
                f"batch_size={c.batch_size} is more than the {num_images:,} training images. "
                f"Set --config.batch_size={num_images} or less. With a smaller batch than the "
                "config's, a smaller --config.learning_rate is needed too."
            )
        self._facts = RunFacts(
            class_names=names,
            train_fingerprint=images.train_source.fingerprint,
            val_fingerprint=images.val.source.fingerprint,
            mean_rgb=images.mean_rgb,
            commits=tuple(filter(None, [processes.from_first(git_commit.commit, str)])),
        )
        self.timetable = Timetable(
            num_epochs=c.num_epochs,
            steps_per_epoch=num_images // c.batch_size,
            log_every_steps=c.log_every_steps,
            checkpoint_every_steps=c.checkpoint_every_steps,
        )
        self._config, self._images = c, images
        self._train_workers, self._val_workers = (
            workers.resolved(c.data.num_workers, source, c.num_epochs)
            for source in (images.train_source, images.val.source)
        )
        self._model = from_config.model(c, data_settings.resolve_num_classes(c.num_classes, names))
        self._optimiser = sgd(c.momentum, c.l2_penalty, c.trained_layers)
        self._mesh = sharding.make_mesh(model_parallel=c.model_parallel)

    def open(self, checkpoints: Checkpoints, workdir: Path) -> _Opened:
        """Restores the run's last checkpoint and its facts, or begins the run if there is none."""
        c, facts = self._config.copy_and_resolve_references(), self._facts
        model, optimiser, mesh = self._model, self._optimiser, self._mesh
        schedule = schedules.from_config(c)
        if checkpoints.last_step is None:
            is_ilsvrc = forms.is_ilsvrc(c.data.name, self._images.train_source)
            first = net_input.of_new_run(c, workdir, facts.mean_rgb, is_ilsvrc=is_ilsvrc)
            facts = dataclasses.replace(facts, mean_rgb=first.mean_rgb)
            c.input_scale = first.input_scale
            start = "\n".join(filter(None, [first.origin, first.warning]))
            params = first_params(c, workdir, model, facts.class_names, mesh)
            state = sharding.put_state(init_state(params, optimiser), mesh)
            return _Opened(state, Progress(schedule), c, facts, start)
        saved = checkpoints.restore_run()
        facts = saved.facts.continued(facts)
        c.input_scale = (run_config.load(workdir) or c).input_scale
        state = checkpoints.restore(abstract_state(model, optimiser, mesh))
        try:
            progress = Progress.from_json(saved.progress, schedule)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise checkpoint_errors.unreadable(
                checkpoints.directory / str(checkpoints.last_step),
                f"its progress is not that of schedule={c.schedule}",
            ) from error
        start = f"goes on at step {checkpoints.last_step:,}"
        return _Opened(state, progress, c, facts, start, saved.progress.get("log"))

    def headline(self, opened: _Opened) -> str:
        """Returns lines that name the net, the images, the devices and the start.

        Few classes are listed, because a wrong folder shows in them. A warning follows if the
        batches lack classes.
        """
        c, images = self._config, self._images
        held_out = "held-out " if c.data.held_out else ""
        num_parameters = sum(leaf.size for leaf in jax.tree.leaves(opened.state.params))
        line = (
            f"{c.name}: net {c.net}, {num_parameters:,} parameters, "
            f"{len(images.train_source):,} training and {len(images.val.source):,} {held_out}"
            f"validation images of {len(self._facts.class_names)} classes, "
            f"{workers.told(self._train_workers)}, "
            f"{jax.device_count()} x {jax.devices()[0].device_kind}; {opened.start}"
        )
        poorly_mixed = shuffle.warning(images.train_source, c.seed)
        return "\n".join(filter(None, [line, self._classes(), poorly_mixed]))

    def _classes(self) -> str:
        names, counts = self._facts.class_names, self._images.class_counts
        if len(names) > _MOST_LISTED:
            return ""
        listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
        return safe_text.printable(f"training images of each class: {listed}")

    def batches(
        self, start_step: int
    ) -> tuple[Iterator[crops.CropBatch], Iterator[crops.CropBatch]]:
        """Returns the training batches from a step on, and the validation batches."""
        c, images = self._config, self._images
        batching = functools.partial(
            crops.Batching,
            crop_px=c.crop_px,
            shard=Shard(jax.process_index(), jax.process_count()),
        )
        return (
            crops.train_batches(
                images.train_source,
                batching(c.batch_size, num_workers=self._train_workers),
                train_scale=tuple(c.train_scale),
                seed=c.seed,
                start_step=start_step,
            ),
            crops.val_batches(
                images.val.source,
                batching(c.eval.batch_size, num_workers=self._val_workers),
                val_scale=c.val_scale,
            ),
        )

    def work(
        self,
        opened: _Opened,
        train_batches: Iterator[crops.CropBatch],
        val_batches: Iterator[crops.CropBatch],
        checkpoints: Checkpoints,
        log: MetricsLog,
        stop: StopRequest,
    ) -> Work:
        """Returns the batches and functions that the loop works with."""
        c, facts, num_val = opened.config, opened.facts, len(self._images.val.source)
        fixed = run_config.fixed(c)
        put = functools.partial(sharding.put_batch, sharding=sharding.split_batch(self._mesh))
        # `map` keeps no batch: it would hold the workers' shared memory after they have ended.
        train_batches, val_batches = map(put, train_batches), map(put, val_batches)
        normalise = Normalise(facts.mean_rgb, net_settings.input_scale(c))
        recipe = Recipe(
            normalise,
            seed=c.seed,
            colour_shift=c.colour_shift,
            micro_batches=c.micro_batches,
            trained_layers=c.trained_layers,
        )
        val_step = parallel.val_step(self._model, self._mesh, normalise)

        def validate(state: TrainState) -> ValResult | None:
            result = validation.validate(
                lambda batch: val_step(state.params, batch),
                val_batches,
                num_batches=crops.num_val_batches(num_val, c.eval.batch_size),
                num_images=num_val,
                stop=stop,
            )
            if result is not None:
                self._say_if_stuck(c, log, int(state.step), result.loss)
            return result

        return Work(
            batches=train_batches,
            train_step=parallel.train_step(self._model, self._optimiser, self._mesh, recipe),
            validate=validate,
            save=lambda state, progress, top1_error: checkpoints.save(
                state,
                SavedRun(facts, {**progress.to_json(), "log": log.mark(), "config": fixed}),
                top1_error,
            ),
        )

    def _say_if_stuck(self, c: ConfigDict, log: MetricsLog, step: int, val_loss: float) -> None:
        if log.folder is None:
            return
        warning = stuck_at_chance.warning(
            log.folder,
            c,
            epoch=step // self.timetable.steps_per_epoch,
            steps_per_epoch=self.timetable.steps_per_epoch,
            num_classes=len(self._facts.class_names),
            val_loss=val_loss,
        )
        if warning:
            log.note(warning)

    def log(self, workdir: Path, start_step: int, opened: _Opened) -> MetricsLog:
        """Returns the log of the metrics from a step on, which only the first process writes."""
        return MetricsLog(
            workdir,
            start_step=start_step,
            validation_due=opened.progress.validation_due,
            total_steps=self.timetable.num_steps,
            with_top5=has_top5(len(self._facts.class_names)),
            write=jax.process_index() == 0,
            mark=opened.log_mark,
        )

    def window(self, log: MetricsLog, progress: Progress) -> Window:
        """Returns the window that collects metrics, with those saved before they were logged."""
        return Window(
            log,
            batch_size=self._config.batch_size,
            steps_per_epoch=self.timetable.steps_per_epoch,
            values=progress.window,
        )


def _with_remedy(error: Exception, checkpoints: Checkpoints) -> UserError:
    last = checkpoints.last_step
    kept = (
        f"The last good checkpoint is {checkpoints.directory / str(last)}."
        if last is not None
        else "No checkpoint was saved yet."
    )
    return UserError(
        f"{error} Training has stopped; no infinite or NaN values were saved. {kept}\n"
        "In a new --workdir, try a lower --config.learning_rate or a larger --config.batch_size. "
        "If you have set --config.init or --config.input_scale, leave it out."
    )
