"""Draws a run's curves: loss, errors and learning rate against epochs."""

import itertools

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics


def draw(workdir: Path, title: str) -> Path:
    """Writes workdir/curves.png from workdir/metrics.jsonl and returns its path."""
    train, val = (metrics.read(workdir, kind) for kind in ("train", "val"))
    figure = Figure(figsize=(11, 4), layout="constrained")
    loss, error = figure.subplots(1, 2)
    _plot(loss, train, "loss", "training, with dropout and augmentation", color="C0", alpha=0.5)
    _plot(loss, val, "loss", "validation", color="C1", marker=".")
    loss.set(ylabel="cross entropy", ylim=(0, None))
    _plot(error, train, "error", "training top-1", color="C0", alpha=0.5)
    _plot(error, val, "top1_error", "validation top-1", color="C1", marker=".")
    _plot(error, val, "top5_error", "validation top-5", color="C2", marker=".")
    error.set(ylabel="error, %", ylim=(0, 100))
    drops = [
        before["epoch"]
        for before, after in itertools.pairwise(train)
        if after["learning_rate"] < before["learning_rate"]
    ]
    for axes in (loss, error):
        axes.set(xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        for epoch in drops:
            axes.axvline(epoch, color="grey", linestyle=":", linewidth=1)
        axes.legend()
    figure.suptitle(title + (" (dotted: the learning rate drops)" if drops else ""))
    path = workdir / "curves.png"
    with files.written_aside(path) as aside:
        figure.savefig(aside, dpi=110, format="png")
    return path


def _plot(axes, records: list[metrics.Record], name: str, label: str, **style) -> None:  # noqa: ANN001, ANN003
    axes.plot([r["epoch"] for r in records], [r[name] for r in records], label=label, **style)
