"""Evaluates a run's checkpoint: dense, multi-crop or both, at one or several Q (§3.2)."""

import contextlib
import dataclasses
import fcntl
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int32
from ml_collections import ConfigDict
from tqdm import tqdm

import vgg_jax
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.decoded import Decoded
from vgg_jax.data.source import Source
from vgg_jax.errors import UserError
from vgg_jax.evaluation import results, trained_net
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.inference import Pass, SingleMethod
from vgg_jax.evaluation.posteriors import Posteriors, Unfinished, combine, load
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import git_commit, processes
from vgg_jax.system.signals import StopRequest


def load_net(c: ConfigDict, workdir: Path, source: Source) -> TrainedNet:
    """Loads the checkpoint that a config's evaluation names, and checks that it suits the images.

    Raises:
      UserError: There is no checkpoint, it is of another net than the config's, or the images have
        other classes.
    """
    net = trained_net.load(
        workdir, checkpoint=c.eval.checkpoint, dtype=c.eval.dtype, pooling=c.eval.pooling
    )
    names = source.class_names
    if names and names != net.class_names:
        differing = sorted({*names} ^ {*net.class_names}) or ["their order"]
        raise UserError(
            f"The {len(names)} classes of the images are not the {len(net.class_names)} that the "
            f"net in {workdir} tells apart: they differ in {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}. Choose the data set with "
            "--config.data.name, .dir and .val_split, or another --workdir."
        )
    return net


def evaluate(c: ConfigDict, workdir: Path, net: TrainedNet, data: SizedImages) -> list[str]:
    """Computes the posteriors that are missing, and writes a JSON file for each result.

    Args:
      c: A config that `config.validate` has passed; its eval says what to do.
      workdir: Of the run.
      net: See `load_net`.
      data: The images.

    Returns:
      A line for each result: of "both" the two methods, then their average. On other processes
      than the first none.

    Raises:
      UserError: Files of other images lie there, another evaluation writes there, only some images
        are labelled, or posteriors are not finite.
      StoppedError: A signal asked it to stop, and it has saved.
    """
    scales, singles = evaluation_settings.test_scales(c), evaluation_settings.METHODS[c.eval.method]
    with processes.stop_request() as stop, contextlib.ExitStack() as locks:
        for single in singles:
            name = results.stem(
                data_settings.evaluated_split(c), single, "lock", evaluation_settings.variant(c)
            )
            file = workdir / "eval" / f".{name}"
            processes.from_first(lambda file=file: locks.enter_context(_locked(file)))
        about_images = processes.from_first(lambda: _names_and_labels(data.source))
        job = _Job(c, workdir, net, net.digest(), data, about_images, stop)
        parts = {method: {q: job.posteriors(method, q) for q in scales} for method in singles}
        if jax.process_index():
            return []
        return [
            results.write(
                _path(c, workdir, method, scales, ".json"),
                combine({single: parts[single] for single in evaluation_settings.METHODS[method]}),
                f"{method}, Q = {', '.join(map(str, scales))}",
                {
                    "run": workdir.resolve().name,
                    "split": data_settings.evaluated_split(c),
                    "method": method,
                    "scales": list(scales),
                    "checkpoint": c.eval.checkpoint,
                    "checkpoint_step": net.step,
                },
            )
            for method in dict.fromkeys([*singles, c.eval.method])
        ]


def _path(c: ConfigDict, workdir: Path, method: str, scales: Sequence[int], suffix: str) -> Path:
    return results.path(
        workdir,
        data_settings.evaluated_split(c),
        method,
        scales,
        variant=evaluation_settings.variant(c),
        suffix=suffix,
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if files.in_bucket(path):  # Which knows no locks; what two write there is the same.
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another evaluation of that method writes to {path.parent}. Wait until it has "
                "ended."
            ) from error
        yield


def _names_and_labels(source: Source) -> tuple[tuple[str, ...], Int32[np.ndarray, " n"]]:
    indices = range(len(source))
    labels = np.array([source.label(i) for i in indices], np.int32)
    unlabelled = int((labels < 0).sum())
    if 0 < unlabelled < len(labels):
        raise UserError(
            f"{unlabelled:,} of {len(labels):,} images have no label. Evaluate labelled and "
            "unlabelled images as two splits."
        )
    return tuple(source.name(i) for i in indices), labels


@dataclasses.dataclass(frozen=True)
class _Job:
    c: ConfigDict
    workdir: Path
    net: TrainedNet
    digest: str
    data: SizedImages
    names_and_labels: tuple[tuple[str, ...], Int32[np.ndarray, " n"]]
    stop: StopRequest

    def posteriors(self, method: SingleMethod, scale: int) -> Posteriors | None:
        """Reads or computes one file; on other processes than the first it returns None."""
        path = _path(self.c, self.workdir, method, [scale], ".npz")
        identity = self._identity(method, scale)
        # Of ImageNet 200 MB: the other processes need no more than to know of it.
        known = None if jax.process_index() else self._known(path, identity)
        unfinished = Unfinished(
            path.with_suffix(".unfinished") if jax.process_index() == 0 else None,
            identity,
            len(self.data.source),
            len(self.net.class_names),
            save_every_s=self.c.eval.save_every_s,
        )
        is_known, done = processes.from_first(lambda: (known is not None, unfinished.done.copy()))
        if not is_known:
            made_by = self._compute(method, scale, unfinished, done)
        if jax.process_index():
            return None
        if known is None:
            values = unfinished.values
            known = Posteriors(
                *self.names_and_labels,
                self.net.class_names,
                values,
                {"identity": identity, **made_by},
            )
            known.save(path)
        unfinished.remove()
        return known

    def _identity(self, method: SingleMethod, scale: int) -> dict[str, Any]:
        net = self.net
        return {
            "parameters": self.digest,
            "net": net.model.net,
            "crop_px": net.model.crop_px,
            "mean_rgb": list(net.mean_rgb),
            "input_scale": net.input_scale,
            "pooling": net.model.pooling,
            "dtype": str(net.model.dtype),
            "images": self.data.source.fingerprint,
            "contents": self.data.source.contents_key,
            "method": method,
            "scale": scale,
        }

    def _known(self, path: Path, identity: dict[str, Any]) -> Posteriors | None:
        if not path.exists():
            return None
        known = load(path)
        theirs = known.made_by["identity"]
        if theirs["images"] != identity["images"]:
            raise UserError(
                f"{path} holds the posteriors of other images. Move it away, or call these images "
                "another split: --config.data.val_split."
            )
        if theirs == identity:
            return known
        differing = [key for key in identity if theirs.get(key) != identity[key]]
        print(f"{path} was made with other {', '.join(differing)}; it is made again.")
        return None

    def _compute(
        self,
        method: SingleMethod,
        scale: int,
        unfinished: Unfinished,
        done: Bool[np.ndarray, " n"],
    ) -> dict[str, Any]:
        begin_s, num_images = time.monotonic(), len(self.data.source)
        single = Pass(
            self.net,
            Decoded(self.data.source),
            self.data.sizes,
            method=method,
            scale=scale,
            batch_px=self.c.eval.batch_px,
            num_workers=self.c.data.num_workers,
        )
        plan = single.plan
        if jax.process_index() == 0:
            print(
                f"{method}, Q = {scale}: {num_images:,} images in {len(plan.batches):,} batches of "
                f"{len(plan.shapes)} shapes, {plan.waste:.1%} of their pixels padding"
            )
        with (
            contextlib.closing(single.run(done)) as results,
            tqdm(
                desc=f"{method} Q={scale}",
                total=num_images,
                initial=int(unfinished.done.sum()),
                unit=" images",
                disable=jax.process_index() != 0,
            ) as bar,
        ):
            for indices, values in results:
                bar.update(int((~unfinished.done[indices]).sum()))
                unfinished.add(indices, values)
                if self.stop:
                    unfinished.save()
                    raise self.stop.error(
                        "Stopped; what was computed is kept, and the same command goes on from it."
                    )
        if jax.process_index() == 0 and not unfinished.done.all():
            raise RuntimeError(
                f"The pass computed {unfinished.done.sum():,} images of {num_images:,}. This is a "
                "bug; please report it."
            )
        seconds = time.monotonic() - begin_s - single.compile_s
        return {
            "run": self.workdir.resolve().name,
            "checkpoint_step": self.net.step,
            "num_images": num_images,
            "images_computed": int(num_images - done.sum()),  # The others were kept from before.
            "seconds": round(seconds, 3),
            "compile_s": round(single.compile_s, 3),
            "shapes": len(plan.shapes),
            "waste": round(plan.waste, 4),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "jax": jax.__version__,
            "vgg_jax": vgg_jax.__version__,
            "commit": git_commit.commit(),
        }
