"""Evaluates a run's checkpoint with one or several methods at one or several Q (§3.2)."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

import jax
from ml_collections import ConfigDict

from vgg_jax import safe_text
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.source import Source
from vgg_jax.evaluation import ground_truth, loading, methods, posteriors, results, set_name
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import FOLDER, ResultKey
from vgg_jax.evaluation.resumable_pass import ResumablePasses, refuse_other_images
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.storage.files import Path
from vgg_jax.system import processes


def load_net(c: ConfigDict, workdir: Path, source: Source) -> TrainedNet:
    """Loads the checkpoint that a config's evaluation names, and checks that it fits the images.

    Raises:
      UserError: There is no checkpoint, it is damaged, or the net lacks classes of the images.
    """
    net = loading.load(
        workdir, checkpoint=c.eval.checkpoint, dtype=c.eval.dtype, pooling=c.eval.pooling
    )
    net.inference.require_fc_layers()
    ground_truth.match(source, net.class_names, workdir)
    return net


def key_of(c: ConfigDict, workdir: Path, net: TrainedNet, source: Source) -> ResultKey:
    """Returns the key of the result of `evaluate`.

    Raises:
      UserError: See `set_name.of`.
    """
    split = set_name.of(c, workdir, source, net.class_names)
    return dataclasses.replace(ResultKey.from_config(c), split=split)


def evaluate(
    c: ConfigDict,
    workdir: Path,
    key: ResultKey,
    net: TrainedNet,
    data: SizedImages,
    out: Path | None = None,
) -> list[str]:
    """Computes the posteriors that are missing, and writes a JSON file for each result.

    Args:
      c: A config that has passed `config.validate`. Its `eval` says what to compute.
      workdir: The run's folder.
      key: See `key_of`.
      net: See `load_net`.
      data: The images.
      out: The folder for the files; None for the workdir.

    Returns:
      A line for each single method's result, then one for their average. Processes other than the
      first return no lines.

    Raises:
      UserError: The folder has posteriors of other images under the same name, another evaluation
        is writing there, only some images are labelled, posteriors are not finite, or see
        `Restriction.check`.
      StoppedError: A signal asked it to stop, and the computed posteriors are saved.
    """
    out = out or workdir
    matched = ground_truth.match(data.source, net.class_names, workdir)
    by_method = key.by_method()
    # The writer is decided before signals are only noted: it may wait for one that may be dead.
    with _one_writer_of_each(by_method, out), processes.stop_request() as stop:
        # Only the first process writes them. An error there ends the others.
        names_and_labels = None
        if jax.process_index() == 0:
            names_and_labels = ground_truth.names_and_labels(data.source, matched)
            key.restriction.check(*names_and_labels, len(net.class_names))
            refuse_other_images(out, key, names_and_labels[0], data.source.fingerprint)
            if key.split != data_settings.evaluated_split(c):
                told = ground_truth.summary(data.source, len(net.class_names), matched)
                print(safe_text.printable(f"{key.split}: {told}"), flush=True)
        by_scale = {method: of_method.by_scale() for method, of_method in by_method.items()}
        passes = tuple(of_scale for keys in by_scale.values() for of_scale in keys.values())
        resumable = ResumablePasses(c, workdir, out, net, data, names_and_labels, stop, passes)
        parts = {
            method: {scale: resumable.read_or_compute(key) for scale, key in keys.items()}
            for method, keys in by_scale.items()
        }
        if jax.process_index():
            return []
        return [
            _write_result(dataclasses.replace(key, method=method), parts, workdir, out, net.step)
            for method in dict.fromkeys([*by_method, key.method])
        ]


@contextlib.contextmanager
def _one_writer_of_each(by_method: Mapping[str, ResultKey], out: Path) -> Iterator[None]:
    with contextlib.ExitStack() as writers:
        for method, key in by_method.items():
            doing = f"evaluating {key.split} with {method}"
            otherwise = "name another folder with --mode=eval --out"
            writers.enter_context(
                processes.one_writer(out / FOLDER, key.posteriors_name(""), doing, otherwise)
            )
        yield


def _write_result(
    key: ResultKey,
    parts: Mapping[str, Mapping[int, Posteriors]],
    workdir: Path,
    out: Path,
    checkpoint_step: int,
) -> str:
    """Writes a method's result, returns its line. The parts are by single method, then by Q."""
    found = posteriors.combine({single: parts[single] for single in methods.singles(key.method)})
    found, restricted, facts = key.restriction.applied(found)
    return results.write_result(
        key.result_path(out),
        found,
        f"{key.variant.beside(key.method)}, Q = {', '.join(map(str, key.scales))}{restricted}",
        {
            "run": workdir.resolve().name,
            "split": key.split,
            "method": key.method,
            "scales": list(key.scales),
            **facts,
            "checkpoint": key.variant.checkpoint,
            "checkpoint_step": checkpoint_step,
        },
    )
