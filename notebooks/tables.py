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
# # The paper's tables beside ours
#
# The paper compares nets of growing depth, A to E, and ways to train and test them. Each
# comparison is a difference of two errors. This notebook shows how large the paper's differences
# are, which of them miniatures of the nets repeat, and what could be chance.
#
# **It needs** nothing but the files in `notebooks/data/sweep`. They are what a sweep of miniatures
# left: small nets on rendered images, which show how to compare, and nothing about VGG. For a
# sweep of your own, change `ROOT`: `python -m launch.sweep --tables=3,4 --root=ROOT` makes one.

# %%
import dataclasses
import os
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import vgg_jax

# %matplotlib inline

os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
ROOT = "notebooks/data/sweep"

sys.path.insert(0, os.getcwd())  # The package launch isn't installed.
from launch.plan import paper
from launch.plan.sweep_spec import Sweep
from launch.report import content, markdown, reading
from vgg_jax.plots import intervals

# %%
sweep = Sweep.load(pathlib.Path(ROOT))
found, report = reading.read(sweep), content.make(sweep)
facts = "\n".join(f"- {name}: {text}" for name, text in report.facts)
display(Markdown(f"The nets that were compared:\n\n{facts}\n\n" + " ".join(report.warnings)))

# %% [markdown]
# ## One test scale (Table 3)
#
# S is the length in pixels to which the shorter side of a training image is rescaled; [256; 512]
# means that each image has a random one (*scale jittering*). Q is that length for a test image. A
# name like D/256/256 gives the net, S and Q. In miniatures, S and Q are shrunk with the crop.
#
# The left panel has the paper's errors on ImageNet, the right one ours. A net is trained several
# times with different random numbers (*seeds*). A small dot is the error of one of these nets, and
# a large dot is their mean. The bar is the mean ± the standard deviation over the seeds, or for a
# single net its 95% interval over the images. Nets whose bars overlap widely can't be told apart.


# %%
def draw_errors(number):
    """Draws a table's errors, for the rows that there are."""
    rows = [row for row in paper.rows([number]) if row.result and found.error(row.result, 1)]
    if not rows:
        display(Markdown(f"There are no results for Table {number} yet."))
        return
    names, ours = [row.label for row in rows], [found.error(row.result, 1) for row in rows]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 0.35 * len(rows) + 1.2), sharey=True, layout="constrained"
    )
    theirs = np.array([row.top1 for row in rows])
    intervals.draw(left, theirs, None, names, colour="C1", marker="D")
    left.set(xlabel="top-1 error, %", title="the paper, ImageNet")
    means, ranges = np.array([e.mean for e in ours]), np.array([e.range for e in ours])
    intervals.draw(right, means, ranges, names)
    for place, row in enumerate(rows):
        of_seeds = [
            100 * seen.wrong[1].mean() for (r, _), seen in found.seen.items() if r == row.result
        ]
        right.plot(of_seeds, [place] * len(of_seeds), ".", color="C0", alpha=0.6, markersize=4)
    right.set(xlabel="top-1 error, %", title=f"ours, {found.split} images")
    plt.show()


draw_errors(3)
epochs = {run.name.split("/")[-1]: run.epochs for run in report.runs if run.epochs is not None}
if len(set(epochs.values())) > 1:
    trained = ", ".join(f"{name} {count}" for name, count in epochs.items())
    display(
        Markdown(
            "These nets were not trained for equally long, because those that start from a smaller "
            "net get fewer epochs. This is one reason why a deeper net may do worse here. Epochs: "
            f"{trained}."
        )
    )

# %% [markdown]
# The same as numbers. After the mean stands either its standard deviation over the seeds (±) or,
# if there is only one net, its 95% interval over the images.


# %%
def show_table(table):
    """Shows the rows of a table of the report that have a figure of ours."""
    lines = tuple(line for line in table.lines if line.top1.ours)
    kept = dataclasses.replace(table, lines=lines)
    left_out = len(table.lines) - len(lines)
    note = f"\n\n{left_out} more rows have no results here." if left_out else ""
    display(Markdown(f"{markdown.of_table(kept, report.seeds)}{note}"))


tables = dict(zip(paper.TITLES, report.tables, strict=True))
show_table(tables[3])

# %% [markdown]
# ## Several test scales (Table 4)
#
# Here the probabilities at three Q are averaged. Nets with fixed S are tested around it, and nets
# with scale jittering over its whole range.

# %%
draw_errors(4)
show_table(tables[4])

# %% [markdown]
# ## The conclusions that the paper draws
#
# Each row is one error less another, so a dot on the left of 0 means that the first net is better.
# The bar around ours is the 95% interval of a *paired bootstrap*: the images are drawn again
# thousands of times, with both nets' results, to see how much the difference depends on which
# images happen to be in the test. If the bar does not contain 0, the choice of images alone hardly
# explains the difference. It may still be due to the seeds: the small dots show the difference for
# each of them.

# %%
pairs = [
    pair for pair in paper.COMPARISONS if found.difference(pair.error_of, pair.less, 1) is not None
]
if pairs:
    rows = [(paper.row_of(pair.error_of), paper.row_of(pair.less)) for pair in pairs]
    names = [f"{first.label} less {second.label}" for first, second in rows]
    figure, axes = plt.subplots(figsize=(10, 0.4 * len(pairs) + 1.4), layout="constrained")
    axes.axvline(0, color="0.3", linewidth=1)
    ours = [found.difference(pair.error_of, pair.less, 1) for pair in pairs]
    means, bars = np.array([e.mean for e in ours]), np.array([e.interval for e in ours])
    intervals.draw(axes, means, bars, names, label="ours")
    for place, pair in enumerate(pairs):
        of_seeds = [
            100 * (first.wrong[1].mean() - found.seen[pair.less, seed].wrong[1].mean())
            for (result, seed), first in found.seen.items()
            if result == pair.error_of and (pair.less, seed) in found.seen
        ]
        axes.plot(of_seeds, [place] * len(of_seeds), ".", color="C0", alpha=0.6, markersize=4)
    theirs = np.array([first.top1 - second.top1 for first, second in rows])
    intervals.draw(axes, theirs, None, names, colour="C1", marker="D", label="the paper, ImageNet")
    axes.set(xlabel="difference of top-1 errors, percentage points")
    axes.legend()
    plt.show()
    show_table(report.comparisons)
display(Markdown(report.findings or "There are no two results to compare yet."))

# %% [markdown]
# The whole report, with Tables 5 to 7 and the commands that fill empty cells, is written by
# `python -m launch.tables --root=ROOT`.
