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
# # Scales: what a net gains from seeing objects at several sizes
#
# A photo can show the same dog large or small. Before the paper's nets see an image, it is
# rescaled, so that its shorter side has S pixels in training and Q pixels in testing (§3.1, §3.2).
# Training crops have a fixed size, so a larger S shows a smaller part of the image, with larger
# objects. The paper trains nets with a fixed S, and others with a random S for each image (*scale
# jittering*). Its Table 4 tests each at several Q.
#
# This notebook shows the error of three nets at every Q, and how sure the differences are.
#
# **It needs** nothing but `notebooks/data/scales.npz`: results of three nets A in miniature,
# trained on 40 classes of mini-ImageNet. `notebooks/data/README.md` has the commands that made it.
# To see your own runs, keep them by the last of these commands.

# %%
import collections
import os
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import vgg_jax

# %matplotlib inline

os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
FILE = "notebooks/data/scales.npz"

sys.path.insert(0, os.getcwd())  # The package launch isn't installed.
from launch.report import estimates
from launch.report.estimates import Seen
from vgg_jax.nets.architectures import CELL_PX
from vgg_jax.plots import intervals
from vgg_jax.runs import config_files

# %% [markdown]
# The file holds, for each net, Q and image, how many classes the net ranks above the image's own
# class. An image counts as wrong for the top-1 error if there is one, and for the top-5 error if
# there are five.

# %%
with np.load(FILE) as kept:
    names, labels = tuple(kept["names"].tolist()), kept["labels"]
    seen = {
        tuple(key.split("/")): Seen(names, labels, {k: kept[key] >= k for k in (1, 5)})
        for key in kept.files
        if "/" in key
    }
NETS = list(dict.fromkeys(net for net, _ in seen))
SCALES = {net: sorted(int(q) for of, q in seen if of == net and q.isdecimal()) for net in NETS}


def title(net):
    """Returns the training scale S of a net as the paper writes it."""
    low, high = net.split("-")
    return f"S = {low}" if low == high else f"S in [{low}; {high}]"


def error(net, q, k=1):
    """Returns the top-k error of a net at a Q, or at the average of several, "64+73+82"."""
    return estimates.error([seen[net, str(q)]], k)


def described(estimate):
    """Returns the text of an estimate with its interval."""
    return f"{estimate.mean:.1f}% ({estimate.interval[0]:.1f} to {estimate.interval[1]:.1f})"


display(
    Markdown(
        f"The nets have {', '.join(title(net) for net in NETS)}; all were tested on the same "
        f"{len(names):,} images of {len(np.unique(labels))} classes."
    )
)

# %% [markdown]
# ## The error by Q
#
# Each band is the 95% interval (Wilson) of the error at a Q. All nets are tested on the same
# images, so their errors rise and fall together. Differences between nets are surer than the bands
# suggest; they follow below. A dotted line stands at the S of each net with a fixed S.

# %%
figure, panels = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
for axes, k in zip(panels, (1, 5), strict=True):
    for number, net in enumerate(NETS):
        found = [error(net, q, k) for q in SCALES[net]]
        bands = np.array([e.interval for e in found])
        means = [e.mean for e in found]
        axes.plot(SCALES[net], means, "o-", color=f"C{number}", markersize=4, label=title(net))
        axes.fill_between(SCALES[net], *bands.T, color=f"C{number}", alpha=0.12, linewidth=0)
        low, high = map(int, net.split("-"))
        if low == high:
            axes.axvline(low, color=f"C{number}", linestyle=":")
    axes.set(xlabel="test scale Q, px", ylabel=f"top-{k} error, %")
    axes.grid(alpha=0.3)
    axes.legend()
plt.show()

best = {net: min(SCALES[net], key=lambda q: error(net, q).mean) for net in NETS}
rows = [
    f"| {title(net)} | {best[net]} | {described(error(net, best[net]))} | "
    f"{described(error(net, max(SCALES[net])))} |"
    for net in NETS
]
display(
    Markdown(
        f"| net | its best Q | error there | error at Q = {max(map(max, SCALES.values()))} |\n"
        "|---|---:|---|---|\n" + "\n".join(rows)
    )
)

# %% [markdown]
# The best of several Q was chosen on the images that it is tested on, so its error is a little too
# good.
#
# A net does best where objects are as large as in its training, and jittering makes it tolerate
# more sizes. The curves aren't smooth, because the net's class score map grows by whole cells.
# Poolings round down, so that up to the next cell a larger Q only pushes more of the image beyond
# the map's edge:

# %%
crop_px = config_files.mini().CROP_PX
cells = [f"{(q - crop_px) // CELL_PX + 1}" for q in SCALES[NETS[0]]]
display(
    Markdown(
        f"| Q | {' | '.join(map(str, SCALES[NETS[0]]))} |\n|---|{'---:|' * len(cells)}\n"
        f"| cells per side of the map | {' | '.join(cells)} |"
    )
)

# %% [markdown]
# ## Is scale jittering better than a fixed S?
#
# The paper finds that it is, even if a single Q is used (§4.1). The dots are the error of the net
# with jittering less that of each net with a fixed S, on the same images at the same Q. The bars
# are 95% intervals of a paired bootstrap over images. Left of 0, jittering is better.
#
# These are single nets: another training would give somewhat other differences, which the bars
# don't show. As in the paper, the nets with larger S start from the one with the smallest S
# (§3.1). Here, their own training was short, so their errors are not as low as they could be.

# %%
fixed = [net for net in NETS if len({*net.split("-")}) == 1]
(jittered,) = (net for net in NETS if net not in fixed)


def difference(a, b, k=1):
    """Returns the error of one (net, Q) less that of another, with its interval."""
    return estimates.difference([(seen[a], seen[b])], k)


figure, axes = plt.subplots(figsize=(8, 0.38 * len(SCALES[jittered]) + 1.4), layout="constrained")
axes.axvline(0, color="0.3", linewidth=1)
rows = [f"Q = {q}" for q in SCALES[jittered]]
for number, net in enumerate(fixed):
    found = [difference((jittered, str(q)), (net, str(q))) for q in SCALES[jittered]]
    means, bars = np.array([e.mean for e in found]), np.array([e.interval for e in found])
    intervals.draw(
        axes,
        means,
        bars,
        rows,
        colour=f"C{number}",
        label=f"less {title(net)}",
        offset=0.3 * number - 0.15,
    )
axes.set(xlabel=f"top-1 error of {title(jittered)} less that of a fixed S, percentage points")
axes.legend()
plt.show()


def verdict(difference):
    """Says whether a net is better or worse than another, if the interval shows it."""
    low, high = difference.interval
    return "better" if high < 0 else "worse" if low > 0 else "not shown to differ"


lines, verdicts = [], set()
for net in fixed:
    found = difference((jittered, str(best[jittered])), (net, str(best[net])))
    low, high = found.interval
    verdicts.add(verdict(found))
    by_verdict = collections.defaultdict(list)
    for q in map(str, SCALES[jittered]):
        by_verdict[verdict(difference((jittered, q), (net, q)))].append(q)
    at_same_q = "; ".join(f"{text} at Q = {', '.join(q)}" for text, q in by_verdict.items())
    lines.append(
        f"- With the best Q of each, {title(jittered)} less {title(net)} is {found.mean:+.2f} "
        f"points ({low:+.2f} to {high:+.2f}): jittering is **{verdict(found)}**. At the same Q it "
        f"is {at_same_q}."
    )
in_short = {"better": "Yes", "worse": "No", "not shown to differ": "These nets don't show it"}
answer = in_short[verdicts.pop()] if len(verdicts) == 1 else "It depends on the fixed S"
display(Markdown(f"**{answer}**, with the best Q of each net:\n\n" + "\n".join(lines)))

# %% [markdown]
# ## Does averaging over several Q help?
#
# Table 4 averages a net's probabilities at three Q: around S for a fixed S, and over the range of
# S for jittering. The paper's gain is largest for jittering: a net that was trained on several
# scales can use them in testing. Each row shows the error of the average less that of the middle Q
# alone.

# %%
means_of = [(net, q) for net, q in seen if "+" in q]
found = [difference((net, q), (net, q.split("+")[1])) for net, q in means_of]
rows = [f"{title(net)}: Q = {q.replace('+', ', ')} less {q.split('+')[1]}" for net, q in means_of]
figure, axes = plt.subplots(figsize=(9, 0.45 * len(rows) + 1.2), layout="constrained")
axes.axvline(0, color="0.3", linewidth=1)
intervals.draw(axes, np.array([e.mean for e in found]), np.array([e.interval for e in found]), rows)
axes.set(xlabel="difference of top-1 errors, percentage points")
plt.show()
table = "\n".join(
    f"| {title(net)} | {q.replace('+', ', ')} | {described(error(net, q))} | "
    f"{described(error(net, q, 5))} |"
    for net, q in means_of
)
display(Markdown(f"| net | Q | top-1 error | top-5 error |\n|---|---|---|---|\n{table}"))
