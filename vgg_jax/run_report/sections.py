"""The sections of a run's report, from its metrics, its posteriors and its images."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vgg_jax.evaluation import calibration, class_errors, wrong_images
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import Variant
from vgg_jax.foreign import class_names
from vgg_jax.plots import confusion, curves, intervals, reliability
from vgg_jax.run_report import elements
from vgg_jax.web_page import Section

_MOST_CLASSES = 40  # Beyond, a picture shows the worst or the most confused classes alone.
_MOST_PAIRS = 12
_MOST_IMAGES = 12


def results(found: Sequence[Mapping[str, Any]], with_top5: bool) -> Section:
    """Returns the table of results, from the values of the JSON files in a run's folder eval."""
    tops = (1, 5) if with_top5 else (1,)
    rows = [
        (
            result["split"] + _counted(result),
            _method(result["method"], result["made_by"]["identity"]),
            ", ".join(map(str, result["scales"])),
            result["checkpoint"],
            f"{result['checkpoint_step']:,}",
            f"{result['num_images']:,}",
            *(_error(result, k) for k in tops),
        )
        for result in found
    ]
    head = ["split", "method", "Q, px", "checkpoint", "step", "images"]
    head += [f"top-{k} error, %" for k in tops]
    caption = (
        "What was evaluated so far (§3.2). Brackets hold 95% intervals: where the error probably "
        "lies, given how few images there are."
    )
    return Section("results", "Results", caption, elements.table(head, rows, texts=4))


def _method(method: str, identity: Mapping[str, Any]) -> str:
    """Returns a method with what isn't standard in its posteriors' identity."""
    settings = {name: identity[name] for name in ("pooling", "dtype") if name in identity}
    return Variant(**settings).beside(method)


def _counted(result: Mapping[str, Any]) -> str:
    """Returns what counts for a result's errors, unless it is all classes and the own labels."""
    if "labels" in result:
        return f", labels of {result['labels']}"
    return f", {result['num_classes']:,} classes" if "classes" in result else ""


def _error(result: Mapping[str, Any], k: int) -> str:
    if f"top{k}_error" not in result:
        return "no labels"
    low, high = result[f"top{k}_interval"]
    return f"{result[f'top{k}_error']:.2f} ({low:.2f} to {high:.2f})"


def learning(
    train: Sequence[Mapping[str, Any]], val: Sequence[Mapping[str, Any]], with_top5: bool
) -> Section:
    """Returns the curves of a run, from its records: see `training.metrics_file.read`."""
    caption = (
        "The loss that training lowers, the errors, and the learning rate. The training curves are "
        "of augmented crops, with dropout; validation is on centre crops. Dotted lines mark the "
        "drops of the rate (§3.1)."
    )
    picture = elements.picture(
        curves.figure(train, val, with_top5=with_top5), "Loss, errors and rate against epochs"
    )
    return Section("learning", "Learning", caption, picture)


def by_class(posteriors: Posteriors) -> Section:
    """Returns the errors of each class, the worst first."""
    names = _names(posteriors)
    of_classes = class_errors.of_classes(posteriors.values, posteriors.labels)
    order = of_classes.worst()
    shown = order[:_MOST_CLASSES]
    figure = Figure(figsize=(8, 0.22 * len(shown) + 1), layout="constrained")
    axes = figure.subplots()
    overall = 100 * of_classes.num_wrong.sum() / of_classes.num_images.sum()
    axes.axvline(overall, color="0.5", linestyle="--", linewidth=1)
    intervals.draw(
        axes, of_classes.errors[shown], of_classes.intervals[shown], [names[k] for k in shown]
    )
    axes.set(xlabel="top-1 error, %", xlim=(0, 100))
    rows = [
        (names[k], f"{of_classes.errors[k]:.1f}", f"{of_classes.num_wrong[k]:,}",
         f"{of_classes.num_images[k]:,}")
        for k in order
    ]  # fmt: skip
    head = ("class", "top-1 error, %", "wrong", "images")
    how_many = (
        "all" if len(shown) == len(order) else f"the worst {len(shown)} of the {len(order):,}"
    )
    caption = (
        f"The top-1 error of {how_many} classes. The bars are 95% intervals (Wilson), and the "
        "dashed line is the error over all images."
    )
    parts = elements.picture(figure, "The errors of the classes")
    return Section(
        "classes",
        "Errors by class",
        caption,
        parts + elements.folded("All classes", elements.table(head, rows)),
    )


def confused(posteriors: Posteriors) -> Section:
    """Returns the confusion matrix, of the most confused classes where there are many."""
    names = _names(posteriors)
    matrix = class_errors.confusion_matrix(posteriors.values, posteriors.labels)
    shown = class_errors.most_confused_classes(matrix, _MOST_CLASSES)
    side = 0.24 * len(shown)
    figure = Figure(figsize=(side + 3, side + 2.4), layout="constrained")
    confusion.draw(figure.subplots(), matrix[np.ix_(shown, shown)], [names[k] for k in shown])
    rows = [
        (names[pair.label], names[pair.predicted], f"{pair.count:,}", f"{pair.share:.0f}%")
        for pair in class_errors.most_confused(matrix, _MOST_PAIRS)
    ]
    head = ("class", "taken for", "images", "of the class")
    which = (
        "" if len(shown) == len(names) else f" The {len(shown)} most confused classes are shown."
    )
    caption = (
        "A row holds the images of a class, a column those that the net takes for a class. What it "
        f"gets right lies on the diagonal.{which}"
    )
    return Section(
        "confusion",
        "Confusion",
        caption,
        elements.picture(figure, "The confusion matrix") + elements.table(head, rows, texts=2),
    )


def certain_errors(
    posteriors: Posteriors, image: Callable[[int], Image.Image] | None, why_not: str
) -> Section:
    """Returns the wrongly classified images of which the net is surest.

    Args:
      posteriors: The posteriors of labelled images.
      image: Decodes the image of an index; None to name the images only.
      why_not: Why they can't be shown.
    """
    names, values, labels = _names(posteriors), posteriors.values, posteriors.labels
    indices = wrong_images.most_certain(values, labels, _MOST_IMAGES)
    titles = [
        (
            f"{names[labels[i]]}: {values[i, labels[i]]:.1%}",
            f"taken for {names[values[i].argmax()]}: {values[i].max():.1%}",
            posteriors.names[i],
        )
        for i in indices
    ]
    caption = (
        "The wrongly classified images of which the net is surest. Often something else in the "
        "image is more prominent, or the label is doubtful."
    )
    if image is None:
        caption += f" They can't be shown here. {why_not}"
        content = elements.table(("class", "the net's choice", "image"), titles, texts=3)
    else:
        content = elements.photos([np.asarray(image(int(i))) for i in indices], titles)
    return Section("errors", "The most certain errors", caption, content)


def calibrated(posteriors: Posteriors) -> Section:
    """Returns how often the net is right, against how sure it is."""
    bins = calibration.reliability(posteriors.values, posteriors.labels, bins=10)
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    reliability.draw(
        figure.subplots(),
        bins.edges,
        bins.counts,
        bins.confidence,
        bins.accuracy,
        bins.intervals,
        title=f"expected calibration error {100 * bins.expected_error:.1f}%",
    )
    caption = (
        "A net is calibrated if it gets 80% of those images right of which it is 80% sure. Dots "
        "below the diagonal mean that it is too sure of itself."
    )
    return Section(
        "calibration",
        "Calibration",
        caption,
        elements.picture(figure, "The share that is right against the confidence"),
    )


def times(train: Sequence[Mapping[str, Any]], passes: Sequence[Mapping[str, Any]]) -> Section:
    """Returns how long training and evaluations took.

    Args:
      train: The training records of a run.
      passes: What the files of posteriors say about how they were made.
    """
    rows = [
        (
            made_by["data"]["split"],
            _method(made_by["identity"]["method"], made_by["identity"]),
            str(made_by["identity"]["scale"]),
            made_by["devices"],
            f"{made_by['checkpoint_step']:,}",
            f"{made_by['images_computed']:,}",
            f"{made_by['seconds']:,.1f}",
            f"{made_by['images_computed'] / max(made_by['seconds'], 1e-3):,.0f}",
            f"{made_by['compile_s']:.1f}",
            f"{made_by['waste']:.0%}",
        )
        for made_by in passes
    ]
    head = ["split", "method", "Q, px", "devices", "step"]
    head += ["images", "seconds", "images/s", "compiling, s", "padding"]
    rates = [record["images_per_s"] for record in train if "images_per_s" in record]
    waits = [record["input_wait_share"] for record in train if "input_wait_share" in record]
    caption = "Seconds leave out the time that compiling took. "
    if rates:
        caption = (
            f"Training processed {statistics.median(rates):,.0f} images/s, and waited for its "
            f"input for {statistics.median(waits):.0%} of the time (medians). {caption}"
        )
    return Section("times", "Times", caption, elements.table(head, rows, texts=4) if rows else "")


def _names(posteriors: Posteriors) -> list[str]:
    return [class_names.short(name) for name in posteriors.class_names]
