"""Measures the evaluation of a trained net: its methods, and dense evaluation in batches.

Two comparisons: of the methods in Table 5, with their times; and of dense evaluation in batches of
mixed sizes with the same net applied to one image after another. All images are decoded beforehand,
and all times are measured in this one process.
"""

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from PIL import Image

from launch.benchmark import table
from vgg_jax.data import decodable, images
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decoded import Decoded
from vgg_jax.data.splits import open_val_source
from vgg_jax.evaluation import loading, methods, topk
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.posterior_pass import PosteriorPass
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.nets.label_rank import has_top5


def measure(
    workdir: str, *, scales: Sequence[str] | None, images: int | None, rounds: int
) -> dict[str, Any]:
    """Prints both comparisons for one run, and returns the seconds of each method.

    Args:
      workdir: The run's folder.
      scales: The test scales Q, in px; None for the run's own.
      images: How many images to draw at random; None for all.
      rounds: How many times dense evaluation is timed.

    Raises:
      UserError: There is no run, its images can't be read, or a scale is below the crop.
    """
    net = loading.load(workdir)
    c = net.config
    source = open_val_source(data_settings.data_spec(c))
    checked = decodable.one_split(
        source, data_settings.evaluated_split(c), data_settings.scan_options(c)
    ).source
    chosen = np.random.default_rng(0).permutation(len(checked))[:images]
    decoded = Decoded(checked)
    photos = [decoded(int(i)) for i in chosen]
    labels = np.array([checked.label(int(i)) for i in chosen], np.int32)
    qs = evaluation_settings.parse_scales(scales) or evaluation_settings.test_scales(c)
    evaluation_settings.check_scales(qs, net.model.crop_px)
    print(
        f"Net {net.model.net}, width {net.model.width}, crop {net.model.crop_px} px, "
        f"{len(photos):,} images of {data_settings.evaluated_split(c)} "
        f"({pathlib.Path(workdir).name}), float32, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}, "
        f"JAX {jax.__version__}\n"
    )
    return {
        "methods": print_methods(net, photos, labels, qs),
        "dense": print_batched(net, photos, qs[len(qs) // 2], rounds),
    }


def print_methods(
    net: TrainedNet,
    photos: list[Image.Image],
    labels: Int32[np.ndarray, " n"],
    scales: tuple[int, ...],
) -> dict[str, float]:
    """Prints errors, differences and times of dense, multi-crop and both; returns the seconds."""
    posteriors, seconds = {}, {}
    for method in methods.singles("both"):
        passes = [_pass(net, photos, method, scale) for scale in scales]
        results = [_timed(net.inference, each, len(photos)) for each in passes]
        posteriors[method] = np.mean([values for values, _ in results], axis=0)
        seconds[method] = sum(s for _, s in results)
    posteriors["both"] = np.mean(list(posteriors.values()), axis=0)
    seconds["both"] = sum(seconds.values())
    print(f"Q = {', '.join(map(str, scales))}\n")
    tops = (1, 5) if has_top5(len(net.class_names)) else (1,)
    errors = " | ".join(f"top-{k} error, %" for k in tops)
    print(f"| method | {errors} | seconds | images/s |\n|---{'|---' * len(tops)}|---|---|")
    wrong = {}
    for method, values in posteriors.items():
        cells = []
        for k in tops:
            wrong[method, k] = topk.wrong(values, labels, k)
            low, high = topk.interval(int(wrong[method, k].sum()), len(labels))
            cells.append(f"{100 * wrong[method, k].mean():.2f} ({low:.2f} to {high:.2f})")
        rate = len(photos) / seconds[method]
        print(f"| {method} | {' | '.join(cells)} | {seconds[method]:.1f} | {rate:.1f} |")
    print(f"\n| less | {' | '.join(f'top-{k}' for k in tops)} |\n|---{'|---' * len(tops)}|")
    for a, b in (("multicrop", "dense"), ("both", "dense"), ("both", "multicrop")):
        cells = []
        for k in tops:
            low, high = topk.difference_interval(wrong[a, k], wrong[b, k])
            less = 100 * (wrong[a, k].mean() - wrong[b, k].mean())
            cells.append(f"{less:+.2f} ({low:+.2f} to {high:+.2f})")
        print(f"| {a} - {b} | {' | '.join(cells)} |")
    return seconds


def print_batched(
    net: TrainedNet, photos: list[Image.Image], scale: int, rounds: int
) -> dict[str, list[float]]:
    """Prints the images/s of dense evaluation in batches and of one image after another.

    Returns:
      The seconds of both, one per round.
    """
    net.inference.programs.clear()  # They are compiled again, so that compilation is timed.
    batched, single = _pass(net, photos, "dense", scale), _OneByOne(net, photos, scale)
    times = {"in batches": [], "one by one": []}
    for _ in range(rounds):
        together, s = _timed(net.inference, batched, len(photos))
        times["in batches"].append(s)
        alone, s = single.timed()
        times["one by one"].append(s)
    rates = {name: len(photos) / statistics.median(s) for name, s in times.items()}
    print(f"\nDense, Q = {scale}, {table.medians(rounds)}\n")
    print("| | images/s | shapes | compilation, s |\n|---|---|---|---|")
    for name, shapes, compile_s in (
        ("in batches", len(batched.plan.shapes), net.inference.compile_s),
        ("one by one", single.shapes, single.compile_s),
    ):
        print(f"| {name} | {rates[name]:.1f} | {shapes} | {compile_s:.1f} |")
    print(
        f"\nRatio {rates['in batches'] / rates['one by one']:.2f}; "
        f"padding {batched.plan.waste:.1%}; "
        f"largest difference of a posterior {np.abs(together - alone).max():.1e}"
    )
    return times


def _pass(net: TrainedNet, photos: list[Image.Image], method: str, scale: int) -> PosteriorPass:
    sizes = np.array([(photo.height, photo.width) for photo in photos], np.int32)
    return PosteriorPass(
        net.inference,
        photos.__getitem__,
        sizes,
        method=method,
        scale=scale,
        batch_px=net.config.eval.batch_px,
    )


def _timed(
    inference: Inference, each: PosteriorPass, count: int
) -> tuple[Float32[np.ndarray, "n c"], float]:
    compiled_s, begin_s = inference.compile_s, time.monotonic()
    parts = list(each.run())
    seconds = time.monotonic() - begin_s - (inference.compile_s - compiled_s)
    values = np.concatenate([values for _, values in parts])
    order = np.argsort(np.concatenate([indices for indices, _ in parts]))
    assert len(order) == count
    return values[order], seconds


class _OneByOne:
    """The baseline: the net on each image and its flip, unpadded, with one program per size."""

    def __init__(self, net: TrainedNet, photos: list[Image.Image], scale: int) -> None:
        self._inference = dataclasses.replace(net.inference)  # The copy has programs of its own.
        self._photos, self._scale = photos, scale

    @property
    def shapes(self) -> int:
        return len(self._inference.programs)

    @property
    def compile_s(self) -> float:
        return self._inference.compile_s

    def timed(self) -> tuple[Float32[np.ndarray, "n c"], float]:
        compiled_s, begin_s = self.compile_s, time.monotonic()
        values = np.stack([self._compute(photo) for photo in self._photos])
        return values, time.monotonic() - begin_s - (self.compile_s - compiled_s)

    def _compute(self, photo: Image.Image) -> Float32[np.ndarray, " c"]:
        pixels = images.rescale(photo, self._scale)
        both = np.stack([pixels, pixels[:, ::-1]])
        return np.asarray(self._inference.call(_posteriors_of_both, both))


def _posteriors_of_both(
    inference: Inference, both: UInt8[jax.Array, "2 h w 3"]
) -> Float[jax.Array, " c"]:
    return jax.nn.softmax(inference.score_maps(both).mean(axis=(1, 2))).mean(axis=0)
