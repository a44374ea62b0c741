# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What a run learned, and where it errs
#
# This notebook looks at one trained net: how it learned, which classes and images it gets wrong,
# whether its last checkpoint is its best, and whether it is right as often as it is sure.
#
# **It needs** the workdir of a run. The quickstart makes `runs/quickstart`, a small net that tells
# ten kinds of rendered shapes apart: `python -m vgg_jax.main --config=configs/quickstart.py`. For
# another run, change `WORKDIR` below. Posteriors that the run lacks are computed once and kept in
# `WORKDIR/eval`. For that, a net that was imported needs labelled images too: those that `data` in
# its `config.json` names. For the quickstart this takes half a minute on two CPU cores; for a large
# net on many images it takes as long as the evaluations, whose progress is shown.

# %%
import collections
import os
import pathlib

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import vgg_jax
from vgg_jax.errors import UserError
from vgg_jax.evaluation import calibration, class_errors, of_run, topk, wrong_images
from vgg_jax.foreign import class_names
from vgg_jax.plots import confusion, curves, image_grid, intervals, reliability
from vgg_jax.runs import run_config
from vgg_jax.training import metrics_file

# %matplotlib inline

os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
WORKDIR = "runs/quickstart"

# %%
workdir = pathlib.Path(WORKDIR)
c = run_config.load(workdir)
if c is None:
    raise UserError(
        f"There is no run in {workdir.absolute()}. Train one, or change WORKDIR. The quickstart is "
        "trained by: python -m vgg_jax.main --config=configs/quickstart.py"
    )
posteriors = of_run.posteriors(workdir)
names = [class_names.short(name) for name in posteriors.class_names]
display(
    Markdown(
        f"The run **{c.name}** trained net {c.net} for at most {c.num_epochs} epochs. It was "
        f"evaluated on {len(posteriors.names):,} images of {len(names):,} classes."
    )
)

# %% [markdown]
# ## Learning curves
#
# The loss that training lowers (left), and the errors (middle). An image counts as wrong for the
# *top-1* error if its class is not the most probable one, and for the *top-5* error if its class
# is not among the five most probable ones. Validation uses images that the net is not trained on.
#
# The training curves are of augmented images, with dropout, which makes the task harder. So they
# may lie above the validation curves. The paper divides the learning rate by ten (right) whenever
# the validation error stops falling (§3.1). Dotted lines mark these drops.

# %%
train, val = (metrics_file.read(workdir, kind) for kind in ("train", "val"))
if train and val:
    display(curves.figure(train, val, c.name))
    drops = curves.drops(train)
    first, last = val[0], val[-1]
    display(
        Markdown(
            f"The validation error was {first['top1_error']:.1f}% after epoch {first['epoch']:g} "
            f"and {last['top1_error']:.1f}% after epoch {last['epoch']:g}. "
            + (
                "The rate dropped after epoch " + ", ".join(f"{epoch:.1f}" for epoch in drops) + "."
                if drops
                else "The learning rate has no sudden drops."
            )
        )
    )
else:
    display(Markdown("This run has no curves: it was imported, or no epoch has ended yet."))

# %% [markdown]
# ## Errors by class
#
# From here on, the net is applied *densely* to whole images (§3.2). A dot is the top-1 error of a
# class. The bar is its 95% interval (Wilson): where the true error probably lies, given how few
# images of that class there are. The dashed line is the error over all images.


# %%
def error(wrong):
    """Returns the text of an error with its interval."""
    low, high = topk.interval(int(wrong.sum()), len(wrong))
    return f"{100 * wrong.mean():.1f}% ({low:.1f} to {high:.1f})"


values, labels = posteriors.values, posteriors.labels
by_class = class_errors.of_classes(values, labels)
worst = by_class.worst(40)
overall = 100 * by_class.num_wrong.sum() / by_class.num_images.sum()
figure, axes = plt.subplots(figsize=(8, 0.22 * len(worst) + 1.2))
axes.axvline(overall, color="0.5", linestyle="--", linewidth=1)
intervals.draw(axes, by_class.errors[worst], by_class.intervals[worst], [names[k] for k in worst])
axes.set(xlabel="top-1 error, %", xlim=(0, 100))
axes.set_title(
    "all classes" if len(worst) == len(names) else f"the worst {len(worst)} of {len(names)} classes"
)
plt.show()
best = by_class.worst()[-1]
top5 = f", and the top-5 error is {error(topk.wrong(values, labels, 5))}" if len(names) > 5 else ""
display(
    Markdown(
        f"The top-1 error is {error(topk.wrong(values, labels, 1))}{top5}. The easiest class is "
        f"*{names[best]}* ({by_class.errors[best]:.0f}% of {by_class.num_images[best]} images are "
        f"wrong), and the hardest is *{names[worst[0]]}* ({by_class.errors[worst[0]]:.0f}% of "
        f"{by_class.num_images[worst[0]]})."
    )
)

# %% [markdown]
# ## Confusion
#
# A row holds the images of one class, and a column those that the net takes for a class. What the
# net gets right lies on the diagonal. With many classes, the picture shows those that are confused
# most.

# %%
matrix = class_errors.confusion_matrix(values, labels)
pairs = class_errors.most_confused(matrix, 200)
most = collections.Counter()
for pair in pairs:
    most.update({pair.label: pair.count, pair.predicted: pair.count})
shown = sorted(range(len(names)) if len(names) <= 40 else [k for k, _ in most.most_common(25)])
figure, axes = plt.subplots(figsize=(0.24 * len(shown) + 3, 0.24 * len(shown) + 2.4))
confusion.draw(axes, matrix[np.ix_(shown, shown)], [names[k] for k in shown])
plt.show()
rows = [
    f"| {names[pair.label]} | {names[pair.predicted]} | {pair.count} | {pair.share:.0f}% |"
    for pair in pairs[:8]
]
display(
    Markdown(
        "The most confused pairs:\n\n| class | taken for | images | of the class |\n"
        "|---|---|---:|---:|\n" + "\n".join(rows)
    )
)

# %% [markdown]
# ## The hardest images, and the most certain errors
#
# The *hardest* images are those whose class the net thinks least probable. Often, something else
# in the image is more prominent, or the label is doubtful. The *most certain errors* are the
# wrongly classified images that the net is surest of.

# %%
try:
    images = of_run.images(workdir, posteriors)
except UserError as missing:
    images = None
    display(Markdown(f"**The images can't be shown.** {missing}"))


def show(indices):
    """Shows images with their class and the net's choice."""
    titles = [
        f"{names[labels[i]]} {values[i, labels[i]]:.1%}\n"
        f"taken for {names[values[i].argmax()]} {values[i].max():.0%}"
        for i in indices
    ]
    return image_grid.figure([np.asarray(images(int(i))) for i in indices], titles)


if images:
    display(Markdown("**The hardest images:**"), show(wrong_images.hardest(values, labels, 12)))
    display(
        Markdown("**The most certain errors:**"),
        show(wrong_images.most_certain(values, labels, 12)),
    )

# %% [markdown]
# ## The last checkpoint against the best
#
# A run keeps its last checkpoint and the one with the least validation error. The best one is
# chosen by looking at the very images that it is then tested on, so a small lead proves nothing.
# The interval is of the difference of both errors on the same images (a paired bootstrap).

# %%
steps = {r["step"]: r["top1_error"] for r in reversed(val)}
last_step = max(steps, default=None)
best_step = min(steps, key=steps.get, default=None)
if best_step == last_step:
    display(Markdown("The last checkpoint of this run is also its best."))
else:
    of_best = of_run.posteriors(workdir, checkpoint="best")
    wrong, wrong_best = (topk.wrong(each.values, labels, 1) for each in (posteriors, of_best))
    low, high = topk.difference_interval(wrong, wrong_best)
    display(
        Markdown(
            f"The last checkpoint (step {last_step:,}) errs on {error(wrong)}, the best one (step "
            f"{best_step:,}) on {error(wrong_best)}. The last less the best: "
            f"{100 * (wrong.mean() - wrong_best.mean()):+.2f} points ({low:+.2f} to {high:+.2f}). "
            + (
                "The interval contains 0, so neither is shown to be better."
                if low <= 0 <= high
                else "The interval does not contain 0."
            )
        )
    )

# %% [markdown]
# ## Calibration
#
# A net is *calibrated* if, of the images that it is 80% sure of, it gets 80% right. Each bar holds
# images of similar confidence, which is the probability of the most probable class. Pale bars hold
# few images, and the thin lines are 95% intervals. A net whose dots lie below the diagonal is too
# sure of itself; one whose dots lie above it is not sure enough. The *expected calibration error*
# (ECE, Guo et al. 2017) is the mean distance of the dots from the diagonal, weighted with the
# bars' images.
#
# *Multi-crop* averages the net's answers for 50 crops of an image, and *both* averages those with
# the dense answer (§3.2). An average of many answers is less sure than each of them, so it changes
# the calibration, even where it hardly changes the error.

# %%
METHODS = {"dense": "dense", "multicrop": "multi-crop", "both": "both"}
figure, panels = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
lines = []
for axes, (method, title) in zip(panels, METHODS.items(), strict=True):
    found = of_run.posteriors(workdir, method=method)
    bins = calibration.reliability(found.values, labels, bins=10)
    ece = 100 * bins.expected_error
    reliability.draw(
        axes,
        bins.edges,
        bins.counts,
        bins.confidence,
        bins.accuracy,
        bins.intervals,
        title=f"{title}: ECE {ece:.1f}%",
    )
    confidence, wrong = 100 * found.values.max(axis=1).mean(), topk.wrong(found.values, labels, 1)
    lines.append(f"| {title} | {error(wrong)} | {confidence:.1f}% | {ece:.1f}% |")
plt.show()
display(
    Markdown(
        "| method | top-1 error | mean confidence | ECE |\n|---|---|---:|---:|\n" + "\n".join(lines)
    )
)
