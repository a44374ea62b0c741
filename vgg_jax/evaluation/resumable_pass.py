"""A pass whose posteriors are kept in a file, and which goes on where it was stopped."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int32
from ml_collections import ConfigDict

from vgg_jax.counted import counted
from vgg_jax.data import settings as data_settings
from vgg_jax.data import workers
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.decoded import Decoded
from vgg_jax.errors import UserError, some_of
from vgg_jax.evaluation import made_with, posteriors, same_images, time_left
from vgg_jax.evaluation.posterior_pass import PosteriorPass
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey
from vgg_jax.evaluation.time_left import TimeLeft
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.evaluation.unfinished import Unfinished
from vgg_jax.runs import params_digest, saved_steps
from vgg_jax.storage.files import Path
from vgg_jax.system import by_name, processes, progress_bar
from vgg_jax.system.signals import StopRequest


@dataclasses.dataclass(frozen=True)
class ResumablePasses:
    """The passes of one evaluation, each of one method at one Q.

    Attributes:
      c: The config of the evaluation.
      workdir: The run's folder.
      out: The folder for the files.
      net: The run's net.
      data: The images.
      names_and_labels: See `ground_truth`. Only the first process needs them.
      stop: Whether a signal has asked the evaluation to stop.
      passes: The keys of all passes, in their order.
    """

    c: ConfigDict
    workdir: Path
    out: Path
    net: TrainedNet
    data: SizedImages
    names_and_labels: tuple[tuple[str, ...], Int32[np.ndarray, " n"]] | None
    stop: StopRequest
    passes: tuple[ResultKey, ...]

    def read_or_compute(self, key: ResultKey) -> Posteriors | None:
        """Reads or computes the file of one method and Q. Only the first process returns it.

        Raises:
          UserError: The file is damaged or of other images, or posteriors are not finite.
          StoppedError: A signal asked it to stop, and the computed posteriors are saved.
        """
        path = key.posteriors_path(self.out)
        (scale,) = key.scales
        identity = {**self._identity, "method": key.method, "scale": scale}
        if by_name.is_own(key.method):  # A user changes a method of their own under the same name.
            identity["method_code"] = by_name.code_digest(key.method)
        is_first = jax.process_index() == 0
        # ImageNet's posteriors take 200 MB. Other processes only need to know that they exist.
        found = _reusable(path, identity, self.names_and_labels[0]) if is_first else None
        unfinished = Unfinished(
            path.with_suffix(".unfinished") if is_first else None,
            identity,
            len(self.data.source),
            len(self.net.class_names),
            save_every_s=self.c.eval.save_every_s,
        )
        done = processes.from_first(
            lambda: np.flatnonzero(unfinished.done).tolist() if found is None else None,
            self._read_done,
        )
        if done is not None:
            facts = self._compute(key, unfinished, done)
            if is_first:
                assert unfinished.done.all()
                found = Posteriors(
                    *self.names_and_labels,
                    self.net.class_names,
                    unfinished.values,
                    {"identity": identity, **facts},
                )
                found.save(path)
        unfinished.remove()
        return found

    def _read_done(self, indices: Sequence[int] | None) -> Bool[np.ndarray, " n"] | None:
        if indices is None:
            return None
        done = np.zeros(len(self.data.source), bool)
        done[np.array(indices, np.intp)] = True
        return done

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        """All that the posteriors depend on, except for the method and the scale."""
        return {
            **self.net.identity(),
            "images": self.data.source.fingerprint,
            "contents": self.data.source.contents_key,
        }

    def _compute(
        self, key: ResultKey, unfinished: Unfinished, done: Bool[np.ndarray, " n"]
    ) -> dict[str, Any]:
        """Computes the images that aren't done, and returns the facts for the file's `made_by`."""
        begin_s, num_images = time.monotonic(), len(self.data.source)
        inference, (scale,) = self.net.inference, key.scales
        compiled_before_s = inference.compile_s
        posterior_pass = PosteriorPass(
            inference,
            Decoded(self.data.source),
            self.data.sizes,
            method=key.method,
            scale=scale,
            batch_px=self.c.eval.batch_px,
            num_workers=workers.resolved(self.c.data.num_workers, self.data.source),
        )
        plan = posterior_pass.plan
        if jax.process_index() == 0:
            print(
                f"{key.method}, Q = {scale}: {counted(num_images, 'images')} in "
                f"{counted(len(plan.batches), 'batches', 'batch')} of "
                f"{counted(len(plan.shapes), 'shapes')}, with {plan.waste:.1%} padding"
                f"{self._compared_with_dense(key)}",
                flush=True,
            )
        self._run(posterior_pass, key, unfinished, done)
        compile_s = inference.compile_s - compiled_before_s
        return {
            "run": self.workdir.resolve().name,
            "checkpoint_step": self.net.step,
            "params_digest": params_digest.of_checkpoint(
                saved_steps.path(self.workdir, self.net.step)
            ),
            "data": {"split": key.split, **data_settings.evaluated_data(self.c)},
            "num_images": num_images,
            "images_computed": int(num_images - done.sum()),  # The others are from an earlier call.
            "seconds": round(time.monotonic() - begin_s - compile_s, 3),
            "compile_s": round(compile_s, 3),
            "shapes": len(plan.shapes),
            "waste": round(plan.waste, 4),
            **made_with.facts(),
        }

    def _whole_px(self, key: ResultKey) -> int:
        (scale,) = key.scales
        return time_left.whole_px(self.net.inference, key.method, scale, self.data.sizes)

    def _compared_with_dense(self, key: ResultKey) -> str:
        times = self._whole_px(key) / self._whole_px(dataclasses.replace(key, method="dense"))
        return f"; {times:.1f} times the pixels of dense evaluation" if times >= 1.5 else ""

    def _later_px(self, key: ResultKey) -> int:
        """Returns the pixels of the passes after this one that have no file yet."""
        later = self.passes[self.passes.index(key) + 1 :]
        return sum(self._whole_px(k) for k in later if not k.posteriors_path(self.out).exists())

    def _run(
        self,
        posterior_pass: PosteriorPass,
        key: ResultKey,
        unfinished: Unfinished,
        done: Bool[np.ndarray, " n"],
    ) -> None:
        num_images, is_first = len(self.data.source), jax.process_index() == 0
        title = f"{key.method} Q={key.scales[0]}"
        left = TimeLeft(
            self.net.inference,
            key.method,
            posterior_pass.plan.without(done).batches,
            self._later_px(key) if is_first else 0,
        )
        with (
            contextlib.closing(posterior_pass.run(done)) as computed,
            progress_bar.bar(
                num_images, "images", title, done=int(unfinished.done.sum()), disable=not is_first
            ) as bar,
        ):
            bar.say("compiling")
            for number, (indices, values) in enumerate(computed):
                if not number:
                    bar.say(f"compiled in {left.compile_s:.1f} s")
                pass_s, whole_s = left.after_batch()
                bar.set_left(pass_s)
                if len(self.passes) > 1:
                    bar.set_postfix_str(
                        f"the whole evaluation: {progress_bar.interval(whole_s)}", refresh=False
                    )
                bar.update(int((~unfinished.done[indices]).sum()))
                unfinished.add(indices, values)
                if self.stop:
                    unfinished.save()
                    raise self.stop.error(
                        "Stopped; what was computed is kept, and the same command goes on from it."
                    )


def refuse_other_images(
    out: Path, key: ResultKey, names: tuple[str, ...], fingerprint: str
) -> None:
    """Checks that a folder's posteriors of a split are all of the same images, at whatever Q.

    Args:
      out: The folder for the files.
      key: A result of the split.
      names: The names of the images that are to be evaluated.
      fingerprint: Theirs: see `source.Source`.

    Raises:
      UserError: Files are of other images.
    """
    others = []
    for path in key.posteriors_of_split(out):
        try:
            made_by = posteriors.read_made_by(path)
            is_other = (
                made_by.get("data", {}).get("split") == key.split
                and made_by["identity"].get("images") != fingerprint
                and not _are_same_ilsvrcs(posteriors.read(path).names, names)
            )
        except UserError:  # An evaluation that needs this damaged file says so.
            continue
        if is_other:
            others.append(path)
    if others:
        raise _other_images(others)


def _reusable(path: Path, identity: Mapping[str, Any], names: tuple[str, ...]) -> Posteriors | None:
    """Reads a file if its identity is the same; returns None if it must be computed.

    Raises:
      UserError: The file is of other images, or of another form of ImageNet, or damaged.
    """
    if not path.exists():
        return None
    found = posteriors.read(path)
    theirs = found.made_by["identity"]
    if theirs.get("images") != identity["images"]:
        if _are_same_ilsvrcs(found.names, names):
            raise UserError(
                f"{path} holds the posteriors of the same images in another form of ImageNet, and "
                "can be fused as it is. To evaluate this form too, write to another folder: "
                "--mode=eval --out=FOLDER."
            )
        raise _other_images([path])
    if theirs == identity:
        return found
    differing = [key for key in identity if theirs.get(key) != identity[key]]
    print(f"{path} was made with other {', '.join(differing)}; it is made again.")
    return None


def _are_same_ilsvrcs(theirs: tuple[str, ...], ours: tuple[str, ...]) -> bool:
    return same_images.order_of(theirs, ours) is not None and same_images.are_ilsvrcs(ours)


def _other_images(paths: Sequence[Path]) -> UserError:
    return UserError(
        f"{paths[0].parent} holds the posteriors of other images: "
        f"{some_of([path.name for path in paths])}. Move them and their results away, give these "
        "images another split's name with --config.data.val_split, or write to another folder with "
        "--out."
    )
