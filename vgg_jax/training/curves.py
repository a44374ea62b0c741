"""Draws a run's curves: loss, errors and learning rate against epochs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics

# The largest ratio of the highest rate to the bottom of its panel. The plateau rule's three drops
# fit in, and a rate that starts or ends at 0 leaves the panel at the bottom.
_RANGE_OF_RATES = 1e4


def draw(workdir: Path, title: str) -> Path:
    """Writes workdir/curves.png from workdir/metrics.jsonl and returns its path."""
    train, val = (metrics.read(workdir, kind) for kind in ("train", "val"))
    figure = Figure(figsize=(15, 4), layout="constrained")
    loss, error, rate = figure.subplots(1, 3, width_ratios=(5, 5, 4))
    _plot(
        loss, train, "loss", label="training, with dropout and augmentation", color="C0", alpha=0.5
    )
    _plot(loss, val, "loss", label="validation", color="C1", marker=".")
    loss.set(ylabel="cross entropy", ylim=(0, None))
    _plot(error, train, "error", label="training top-1", color="C0", alpha=0.5)
    _plot(error, val, "top1_error", label="validation top-1", color="C1", marker=".")
    _plot(error, val, "top5_error", label="validation top-5", color="C2", marker=".")
    error.set(ylabel="error, %", ylim=(0, 100))
    _plot(rate, train, "learning_rate", color="C3")
    rate.set(ylabel="learning rate")
    _scale(rate, [record["learning_rate"] for record in train])
    for axes in (loss, error, rate):
        axes.set(xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes is not rate:
            axes.legend()
    figure.suptitle(title)
    path = workdir / "curves.png"
    with files.written_aside(path) as aside:
        figure.savefig(aside, dpi=110, format="png")
    return path


def _plot(axes: Axes, records: list[metrics.Record], name: str, **style) -> None:  # noqa: ANN003
    axes.plot([r["epoch"] for r in records], [r[name] for r in records], **style)


def _scale(axes: Axes, rates: list[float]) -> None:
    positive = [rate for rate in rates if rate > 0]
    if not positive:
        return
    highest, lowest = max(positive), min(positive)
    axes.set_yscale("log", nonpositive="clip")
    # The axis spans at least a decade, so that a constant rate has a power of ten on it.
    bottom = min(max(lowest, highest / _RANGE_OF_RATES), highest / 10)
    axes.set_ylim(bottom / 1.5, highest * 1.5)
