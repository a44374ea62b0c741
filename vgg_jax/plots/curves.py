"""A run's curves: loss, errors and learning rate against epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Record = Mapping[str, Any]  # A line of metrics.jsonl.

# A first loss that is so many times all others leaves the panel at the top.
_OUTLIER = 1.5

# The largest ratio of the highest rate to the bottom of its panel. The plateau rule's three drops
# fit in, and a rate that starts or ends at 0 leaves the panel at the bottom.
_RANGE_OF_RATES = 1e4


def figure(
    train: Sequence[Record], val: Sequence[Record], title: str = "", *, with_top5: bool = True
) -> Figure:
    """Returns three panels: the loss, the errors, and the learning rate.

    Dotted lines mark the drops of the rate: see `drops`.

    Args:
      train, val: A run's records in the order of their steps: see `training.metrics_file.read`.
      title: The title of the whole figure.
      with_top5: Whether to draw the top-5 error. It says nothing of five classes or fewer.
    """
    figure = Figure(figsize=(15, 4), layout="constrained")
    loss, error, rate = figure.subplots(1, 3, width_ratios=(5, 5, 4))
    _plot(
        loss, train, "loss", label="training, with dropout and augmentation", color="C0", alpha=0.5
    )
    _plot(loss, val, "loss", label="validation", color="C1", marker=".")
    loss.set(ylabel="cross entropy", ylim=(0, None))
    _leave_out_first_loss(loss, train, val)
    _plot(error, train, "error", label="training top-1", color="C0", alpha=0.5)
    _plot(error, val, "top1_error", label="validation top-1", color="C1", marker=".")
    if with_top5:
        _plot(error, val, "top5_error", label="validation top-5", color="C2", marker=".")
    error.set(ylabel="error, %", ylim=(0, 100))
    steps = "steps-pre" if drops(train) else "default"  # A record ends the steps that it is of.
    _plot(rate, train, "learning_rate", color="C3", drawstyle=steps)
    rate.set(ylabel="learning rate")
    _scale(rate, [record["learning_rate"] for record in train])
    for axes in (loss, error, rate):
        axes.set(xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes is not rate:
            for epoch in drops(train):
                axes.axvline(epoch, color="C3", linestyle=":")
            axes.legend()
    figure.suptitle(title)
    return figure


def drops(train: Sequence[Record]) -> list[float]:
    """Returns the epochs at which a constant rate fell, as the paper's does (§3.1).

    A rate that falls all the time, along a cosine for example, has no drops.
    """
    rates = [record["learning_rate"] for record in train]
    return [
        train[i]["epoch"]
        for i in range(1, len(rates) - 1)
        if rates[i - 1] == rates[i] > rates[i + 1]
    ]


def _plot(axes: Axes, records: Sequence[Record], name: str, **style) -> None:  # noqa: ANN003
    axes.plot([r["epoch"] for r in records], [r[name] for r in records], **style)


def _leave_out_first_loss(axes: Axes, train: Sequence[Record], val: Sequence[Record]) -> None:
    others = [record["loss"] for record in (*train[1:], *val)]
    if others and train and train[0]["loss"] > _OUTLIER * max(others):
        axes.set_ylim(0, 1.1 * max(others))
        axes.set_ylabel(f"cross entropy (begins at {train[0]['loss']:.2f})")


def _scale(axes: Axes, rates: list[float]) -> None:
    positive = [rate for rate in rates if rate > 0]
    if not positive:
        return
    highest, lowest = max(positive), min(positive)
    axes.set_yscale("log", nonpositive="clip")
    # The axis spans at least a decade, so that a constant rate has a power of ten on it.
    bottom = min(max(lowest, highest / _RANGE_OF_RATES), highest / 10)
    axes.set_ylim(bottom / 1.5, highest * 1.5)
