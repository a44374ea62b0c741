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
# # Dense evaluation
#
# A net is trained on crops of one size, but it can be applied to whole photos of any size. The
# paper calls this dense evaluation (§3.2). This notebook shows step by step what happens:
#
# 1. a fully connected layer is a convolution: both give the same numbers
# 2. class score maps of whole photos, at several scales Q
# 3. sum-pooling: how a map becomes one score per class
# 4. how photos of different sizes share a batch: padding and masks
# 5. dense against multi-crop evaluation, and the photos on which they disagree
#
# **It needs** the workdir of a run and its validation images. The quickstart makes
# `runs/quickstart`: `python -m vgg_jax.main --config=configs/quickstart.py`. For another run,
# change `WORKDIR` below. For the quickstart it takes under a minute on two CPU cores. With a photo
# of your own, only section 5 needs the validation images.

# %%
import os
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

import vgg_jax
from vgg_jax.data import images, opening, photos
from vgg_jax.data.decoded import Decoded
from vgg_jax.errors import UserError
from vgg_jax.evaluation import class_maps, topk
from vgg_jax.evaluation.inference import Inference
from vgg_jax.foreign import class_names
from vgg_jax.nets import architectures, layers
from vgg_jax.nets.architectures import CELL_PX
from vgg_jax.plots import cells, image_grid, score_map

# %matplotlib inline

os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
WORKDIR = "runs/quickstart"
PHOTO = 276  # The number of a validation image, or an image file of your own, such as "cat.jpg".

# %%
net = vgg_jax.load(WORKDIR, dtype="float32")
net.inference.require_fc_layers()  # Without them, a net has no class scores.
crop_px = net.model.crop_px
names = [class_names.short(name) for name in net.class_names]
try:
    validation = opening.for_evaluation(net.config)
except UserError:
    if not isinstance(PHOTO, str):
        raise  # Without these images, PHOTO must be a file.
    validation = None
    display(Markdown("The run's validation images can't be opened: section 5 will be skipped."))
if isinstance(PHOTO, str):
    photo = photos.find([PHOTO])(0)
else:
    photo = Decoded(validation)(PHOTO % len(validation))
display(Markdown(f"The net: `{net}`. It was trained on crops of {crop_px} x {crop_px} px."))

# %% [markdown]
# ## 1. A fully connected layer is a convolution
#
# FC6 takes all values of pool5: for a crop of 224 px these are 7 x 7 cells of 512 channels. It
# multiplies them by a matrix. But the same weights can be written as a kernel of 7 x 7 cells. On a
# crop, this kernel fits in one place only, and the sums are the same. On a larger map it fits in
# many places, and gives the fully connected layer's values in each. FC7 and FC8 become kernels of
# 1x1.
#
# Here the photo is rescaled so that its shorter side is twice the crop. FC6 is computed by a
# convolution over the whole of pool5, and by a matrix product for each window.

# %%
kernel, bias = (np.asarray(net.params["fc6"][name]) for name in ("kernel", "bias"))
size = kernel.shape[0]
image = images.rescale(photo, 2 * crop_px)
features = net.features(image[None], ["pool5", "fc6"])
pool5, fc6 = (np.asarray(features[name][0]) for name in ("pool5", "fc6"))

matrix, windows = kernel.reshape(-1, kernel.shape[-1]), np.zeros_like(fc6)
for i, j in np.ndindex(fc6.shape[:2]):
    window = pool5[i : i + size, j : j + size]
    windows[i, j] = window.reshape(-1) @ matrix + bias
np.testing.assert_allclose(fc6, windows, atol=1e-5 * np.abs(fc6).max())
difference = np.abs(fc6 - windows).max() / np.abs(fc6).max()

whole_scores = net.score_map(image, scale=2 * crop_px)
surest = np.asarray(jax.nn.softmax(whole_scores)).max(axis=-1)
row, column = (int(place) for place in np.unravel_index(surest.argmax(), surest.shape))
top, left = CELL_PX * row, CELL_PX * column

figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
axes[0].imshow(image)
axes[0].set(
    xticks=[], yticks=[], title=f"photo, {image.shape[0]} px high, {image.shape[1]} px wide"
)
cells.frame(axes[0], left, top, crop_px)
cells.draw(axes[1], pool5.mean(axis=-1), f"pool5: {pool5.shape[0]} x {pool5.shape[1]} cells")
cells.frame(axes[1], column - 0.5, row - 0.5, size)
cells.draw(
    axes[2], np.maximum(fc6, 0).mean(axis=-1), f"relu6: {fc6.shape[0]} x {fc6.shape[1]} cells"
)
cells.frame(axes[2], column - 0.5, row - 0.5, 1)
display(
    Markdown(
        f"FC6's kernel has {size} x {size} cells of {kernel.shape[2]} channels, and "
        f"{kernel.shape[3]:,} outputs. The two ways differ by {difference:.1e} of the largest "
        "value. The frames show the window in which the net is surest of a class: its part of the "
        "photo, its cells of pool5, and the cell of FC6 that it gives. The maps are averages over "
        "the channels."
    )
)

# %% [markdown]
# So a cell of the map is what the net says of the crop below it? Not quite. When the net is applied
# to a crop alone, the convolutions pad the crop's borders with zeros. In the whole photo, the
# neighbouring pixels are there instead. The paper says that this gives the net more context (§3.2).

# %%
of_cell = jax.nn.softmax(whole_scores[row, column])
crop = image[top : top + crop_px, left : left + crop_px]
of_crop = jax.nn.softmax(net(crop[None])[0])
best = int(of_cell.argmax())
display(
    Markdown(
        f"In the whole photo, this window is {names[best]} with a probability of "
        f"{of_cell[best]:.1%}; as a crop alone, with {of_crop[best]:.1%}. The probabilities of all "
        f"classes differ by up to {100 * float(jnp.abs(of_cell - of_crop).max()):.1f} points."
    )
)

# %% [markdown]
# ## 2. Score maps at several scales
#
# Before the net sees a photo, it is rescaled so that its shorter side has Q px. Q needn't be S, the
# scale of training (§3.2). The larger Q, the larger is an object for the net, and the more cells
# the map has: one for each step of 32 px, because five poolings halve the sides. Each map below
# shows one class, the most probable one for the whole photo: in each cell its probability there.

# %%
posteriors = net.posteriors([np.asarray(photo)])[0]
best = int(posteriors.argmax())
scales = [crop_px * factor // 4 for factor in (4, 5, 6, 8, 12)]
score_maps = [net.score_map(np.asarray(photo), scale=scale) for scale in scales]
of_class = [np.asarray(jax.nn.softmax(scores))[..., best] for scores in score_maps]
largest = max(values.max() for values in of_class)
figure, axes = plt.subplots(2, len(scales), figsize=(14, 5.8), layout="constrained")
for (upper, lower), scale, scores, values in zip(axes.T, scales, score_maps, of_class, strict=True):
    upper.imshow(images.rescale(photo, scale))
    cells.frame(upper, 0, 0, crop_px)
    upper.set(xticks=[], yticks=[], title=f"Q = {scale}")
    heat = lower.imshow(values, cmap="inferno", vmin=0, vmax=largest)
    lower.set(xticks=[], yticks=[], title=f"{values.shape[0]} x {values.shape[1]} cells")
    pooled = jax.nn.softmax(scores.mean(axis=(0, 1)))[best]
    lower.set_xlabel(f"whole photo: {pooled:.0%}")
figure.colorbar(heat, ax=axes[1], fraction=0.02, pad=0.01)
display(
    Markdown(
        f"Above, the photo at each Q, with the window of one cell: {crop_px} x {crop_px} px. "
        f"Below, the probability of **{names[best]}** in each cell, and that of the whole photo."
    )
)

# %% [markdown]
# A step of 32 px is coarse. The library also computes maps of a finer step: it shifts the photo by
# a few px, computes the map of each shift, and puts all of them together. If each pixel takes the
# mean of the windows that it lies in, one sees *where* in the photo the net sees a class. This is
# what `python -m vgg_jax.predict --map` draws.

# %%
classes = topk.best(posteriors, 3)
maps = class_maps.around_pixels(net, np.asarray(photo), classes, scale=2 * crop_px)
titles = [f"{names[k]} {posteriors[k]:.1%}" for k in classes]
display(score_map.figure(np.asarray(photo), maps, titles))

# %% [markdown]
# ## 3. Sum-pooling
#
# A photo is to have one score per class, whatever its size. So the map is averaged over its cells;
# the paper calls this sum-pooling. Softmax comes after that. And since a photo and its mirror image
# show the same thing, both are evaluated, and their probabilities are averaged.

# %%
scale = 2 * crop_px
image = images.rescale(photo, scale)
height, width = (side // CELL_PX * CELL_PX for side in image.shape[:2])
image = image[:height, :width]  # whole cells


def pooled_scores(image):
    """Averages the class score map of an image."""
    return net.score_map(image, scale=scale).mean(axis=(0, 1))


np.testing.assert_allclose(pooled_scores(image), net(image[None])[0], rtol=1e-4, atol=1e-4)
by_hand = np.mean([jax.nn.softmax(pooled_scores(x)) for x in (image, image[:, ::-1])], axis=0)
dense = net.posteriors([image], scales=[scale])[0]
np.testing.assert_allclose(by_hand, dense, atol=1e-5)

# %% [markdown]
# What does it matter whether scores or probabilities are averaged? A score can be any number, so a
# cell that is very sure counts for more. A probability is at most 1, so cells count more alike.

# %%
scores = net.score_map(image, scale=scale)
of_cells = np.asarray(jax.nn.softmax(scores))
winners, counts = np.unique(of_cells.argmax(axis=-1), return_counts=True)
averages = {
    "average of scores, then softmax (the paper's)": jax.nn.softmax(scores.mean(axis=(0, 1))),
    "softmax in each cell, then average": of_cells.mean(axis=(0, 1)),
}
shown = topk.best(next(iter(averages.values())), 5)
figure, axes = plt.subplots(figsize=(8, 0.55 * len(shown) + 1), layout="constrained")
for offset, (text, values) in zip((-0.2, 0.2), averages.items(), strict=True):
    axes.barh(np.arange(len(shown)) + offset, np.asarray(values)[shown], 0.38, label=text)
axes.set_yticks(range(len(shown)), [names[k] for k in shown])
axes.invert_yaxis()
axes.set(xlabel="probability", xlim=(0, 1))
axes.legend()
in_words = ", ".join(f"{names[k]} in {count}" for k, count in zip(winners, counts, strict=True))
display(Markdown(f"The most probable class of the {counts.sum()} cells: {in_words}."))

# %% [markdown]
# ## 4. Padding and masks
#
# Photos have different sizes, but a batch is one array. So smaller photos are padded up to the size
# of the largest one. That alone would change the result: a net's biases make values out of the
# zeros of the padding, and the next convolutions carry these values into the photo. The net also
# has to leave the padded cells out of the average.
#
# The library therefore sets the padding to zero again before each convolution, as if the photo
# ended there. These are the masks. A photo in a batch then has the same scores as the photo alone.

# %%
bottom, right = height // 2, width // 2
padded = np.pad(image, [(0, bottom), (0, right), (0, 0)])[None]
sizes = np.array([[height, width]], np.int32)
alone = np.asarray(net.inference.call(Inference.score_maps, image[None]))[0]
rows, columns = net.model.score_cells(sizes)[0]
without_masks = np.asarray(net.inference.call(Inference.score_maps, padded))[0]
with_masks = np.asarray(net.inference.call(Inference.score_maps, padded, sizes))[0]
np.testing.assert_allclose(
    with_masks[:rows, :columns], alone, atol=1e-5 * np.abs(alone).max(), rtol=0
)

# %%
layer = architectures.last_of_blocks(net.model.architecture)["4"]


def mean_map(pixels, sizes=None):
    """Averages the layer's maps over its channels, with masks if there are sizes."""
    maps = net.model.apply(
        {"params": net.params}, net.inference.normalise(pixels), [layer], sizes, method="features"
    )
    maps = maps[layer]
    if sizes is not None:  # The next convolution zeroes the padding before it uses the maps.
        maps = layers.mask(maps, net.model.feature_cells(layer, sizes))
    return np.asarray(maps[0].mean(axis=-1))


in_batch = {
    "alone": mean_map(image[None]),
    "without masks": mean_map(padded),
    "with masks": mean_map(padded, sizes),
}
map_height, map_width = in_batch["alone"].shape
largest = max(values.max() for values in in_batch.values())
figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
axes[0].imshow(padded[0])
axes[0].set(xticks=[], yticks=[], title="the photo, padded")
cells.frame(axes[0], -0.5, -0.5, width, height)
for panel, (text, values) in zip(axes[1:], in_batch.items(), strict=True):
    panel.imshow(values, cmap="inferno", vmin=0, vmax=largest)
    panel.set(xticks=[], yticks=[], title=f"{layer}, {text}")
    if values.shape != (map_height, map_width):
        cells.frame(panel, -0.5, -0.5, map_width, map_height)

errors = {
    text: np.abs(scores[:rows, :columns] - alone).max()
    for text, scores in (("without", without_masks), ("with", with_masks))
}
best = int(dense.argmax())
of_photo, of_all = (
    float(jax.nn.softmax(m.mean(axis=(0, 1)))[best]) for m in (alone, without_masks)
)
with_masks_by = f"by up to {errors['with']:.1e}" if errors["with"] else "not at all"
display(
    Markdown(
        f"The maps are averages of {layer} over its channels, as the next convolution gets them. "
        "The frame is the photo's part. The scores there differ from those of the photo alone by "
        f"up to {errors['without']:.2f} without masks, and {with_masks_by} with masks. The photo "
        f"alone is {names[best]} with a probability of {of_photo:.1%}. Without masks, averaged "
        f"over the padding too, that would be {of_all:.1%}."
    )
)

# %% [markdown]
# ## 5. Dense or multi-crop?
#
# Multi-crop evaluation takes 50 crops of each photo, a grid of 5 x 5 and their mirror images, and
# averages their probabilities (§3.2). It computes most of the photo many times over, so it is much
# slower than dense evaluation. The two see different things at the borders: a crop ends in zeros,
# where the whole photo goes on. So, says the paper, they complement each other, and the average of
# both is best (Table 5).
#
# We try it on some validation images, spread over all classes. A large net gets fewer images, so
# that this doesn't take too long on a CPU.

# %%
METHODS = {"dense": "dense", "multicrop": "multi-crop"}
SKIPPED = "Skipped: this needs the run's validation images."
if validation is None:
    display(Markdown(SKIPPED))
else:
    crop_cost = sum(c.multiply_adds for c in architectures.costs(net.model.architecture, crop_px))
    num_images = int(np.clip(4e11 / (50 * crop_cost), 8, 100))
    chosen = np.linspace(0, len(validation) - 1, min(num_images, len(validation))).astype(int)
    some = [np.asarray(Decoded(validation)(i)) for i in chosen]
    labels = np.array([validation.label(int(i)) for i in chosen])
    by_method = {method: net.posteriors(some, method=method) for method in METHODS}
    by_method["both"] = (by_method["dense"] + by_method["multicrop"]) / 2

# %%
if validation is None:
    display(Markdown(SKIPPED))
else:
    assert (labels >= 0).all(), (
        "These images have no labels, so nothing says which method is right."
    )
    of_truth = {
        method: values[np.arange(len(labels)), labels] for method, values in by_method.items()
    }
    agree = by_method["dense"].argmax(axis=1) == by_method["multicrop"].argmax(axis=1)
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    for is_same, text in (
        (True, "both choose the same class"),
        (False, "they choose different classes"),
    ):
        x, y = (of_truth[method][agree == is_same] for method in ("dense", "multicrop"))
        axes.plot(x, y, "o", alpha=0.6, label=text)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.set(
        xlabel="dense", ylabel="multi-crop", title="probability of the true class", aspect="equal"
    )
    axes.legend()
    wrong = {
        method: (values.argmax(axis=1) != labels).mean() for method, values in by_method.items()
    }
    display(
        Markdown(
            f"On {len(labels)} images: top-1 error {wrong['dense']:.1%} dense, "
            f"{wrong['multicrop']:.1%} multi-crop, {wrong['both']:.1%} for the average of both. "
            f"The two choose the same class for {agree.mean():.0%} of the images. So few images "
            "can't say which is better. This command takes all:\n\n"
            f"`python -m vgg_jax.main --mode=eval --workdir={WORKDIR} --config.eval.method=both`"
        )
    )

# %% [markdown]
# These are the images on which they differ most: their true class, and what each method says.
# Images that get different classes come first.

# %%
if validation is None:
    display(Markdown(SKIPPED))
else:
    apart = np.abs(by_method["dense"] - by_method["multicrop"]).sum(axis=1)
    most = np.argsort(agree - apart / 2)[:6]
    titles = []
    for i in most:
        lines = [f"true: {names[labels[i]]}"]
        for method, title in METHODS.items():
            k = int(by_method[method][i].argmax())
            lines.append(f"{title}: {names[k]} {by_method[method][i, k]:.0%}")
        titles.append("\n".join(lines))
    display(image_grid.figure([some[i] for i in most], titles))
