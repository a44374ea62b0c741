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
# # Inside the net
#
# A convolutional net is a chain of simple operations. This notebook first applies them to a picture
# of 7 x 7 cells, where each sum can be checked by hand, and then to a photo, with the net of a run:
#
# 1. convolution, ReLU, pooling, flattening and a fully connected layer, on a smiley
# 2. the first layer's kernels, and the feature maps of each block
# 3. receptive fields: how much of a photo a value sees
# 4. three 3x3 convolutions against one of 7x7 (§2.3 of the paper)
# 5. parameters, values and multiply-adds of every layer of the six nets (Table 1)
#
# **It needs** the workdir of a run, and a photo: one of the run's validation images, or your own.
# The quickstart makes `runs/quickstart`: `python -m vgg_jax.main --config=configs/quickstart.py`.
# For another run, change `WORKDIR` below. It takes half a minute on two CPU cores.

# %%
import os
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

import vgg_jax
from vgg_jax.analysis import memory_table, net_picture, net_table, text_table, varied_channels
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.data import images, opening, photos
from vgg_jax.data.decoded import Decoded
from vgg_jax.nets import architectures, layers
from vgg_jax.plots import cells, feature_maps

# %matplotlib inline

jax.config.update("jax_default_matmul_precision", "highest")  # On accelerators too.
os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
WORKDIR = "runs/quickstart"
PHOTO = 12  # The number of a validation image, or an image file of your own, such as "cat.jpg".

# %% [markdown]
# ## 1. A smiley
#
# A grey picture is a table of numbers. This one has a 1 for ink and a 0 for paper. With its mouth
# upside down, the smile becomes a frown. We will build a net by hand that tells the two apart.

# %%
SMILE = """
.......
.#...#.
.......
.......
.#...#.
..###..
.......
"""
smile = np.array([[float(cell == "#") for cell in row] for row in SMILE.split()])
frown = smile.copy()
frown[[4, 5]] = smile[[5, 4]]
FACES = {"smile": smile, "frown": frown}


def draw_table(axes, values, title="", number=True):
    """Draws a table of numbers: blue is positive, red is negative."""
    values = np.atleast_2d(values)
    cells.draw(axes, values, title, cmap="RdBu", limits=(-3, 3))
    if number:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) >= 3 else "black"
            text = f"{value + 0.0:g}"  # Without adding 0, a product of 0 and -1 is shown as -0.
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)


def mark(axes, row, column, size):
    """Draws a frame around some cells."""
    cells.frame(axes, column - 0.5, row - 0.5, size, colour="C1")


# %% [markdown]
# ### Convolution
#
# A feature detector, or kernel, is a small table of weights. This one looks for a line that falls
# from left to right: ink on its diagonal counts for it, and ink beside the diagonal counts against
# it.
#
# The kernel is laid over each cell of the picture in turn. The nine numbers below it are multiplied
# by its nine weights, and the products are added up. All these sums together are the feature map.
# So that the map is as large as the picture, a border of zeros is put around the picture: it is
# padded (§2.1). Almost all of the paper's kernels have 3x3 cells too.

# %%
FALLING = np.array([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
RISING = FALLING[:, ::-1]


def convolve_by_hand(picture, kernel):
    padded = np.pad(picture, 1)
    result = np.zeros(picture.shape)
    for row, column in np.ndindex(picture.shape):
        window = padded[row : row + 3, column : column + 3]
        result[row, column] = (window * kernel).sum()
    return result


falling_map = convolve_by_hand(smile, FALLING)
best_row, best_column = np.unravel_index(falling_map.argmax(), falling_map.shape)
window = np.pad(smile, 1)[best_row : best_row + 3, best_column : best_column + 3]

figure, axes = plt.subplots(
    1, 5, figsize=(14, 3.6), width_ratios=(9, 3, 3, 3, 7), layout="constrained"
)
draw_table(axes[0], np.pad(smile, 1), "the smiley, padded with zeros")
mark(axes[0], best_row, best_column, 3)
draw_table(axes[1], window, "the window")
draw_table(axes[2], FALLING, "times the kernel")
draw_table(axes[3], window * FALLING, "the products")
draw_table(axes[4], falling_map, "the feature map")
mark(axes[4], best_row, best_column, 1)

products = " + ".join(
    f"{value:g}·{f'({weight:g})' if weight < 0 else f'{weight:g}'}"
    for value, weight in zip(window.ravel(), FALLING.ravel(), strict=True)
)
display(
    Markdown(
        f"In the marked window, row by row: {products} = **{(window * FALLING).sum():g}**. "
        f"It is the largest of all {falling_map.size} sums. There the left end of the mouth begins."
    )
)

# %% [markdown]
# The library's convolution gives the same sums. It takes all kernels of a layer at once. A layer
# with two kernels makes two maps, which are called channels. Each kernel of the next layer then
# sees both of them: its weights have the shape (3, 3, channels in), and the sum is over all of
# these.

# %%
kernels = np.stack([FALLING, RISING], axis=-1)[:, :, None, :]  # height, width, channels in and out
faces = np.stack(list(FACES.values()))[..., None]  # picture, height, width, channels
sums = np.asarray(layers.conv(jnp.asarray(faces), jnp.asarray(kernels), "SAME"))
for face, of_face in zip(faces, sums, strict=True):
    for kernel, of_kernel in zip((FALLING, RISING), np.moveaxis(of_face, -1, 0), strict=True):
        np.testing.assert_allclose(of_kernel, convolve_by_hand(face[..., 0], kernel))

# %% [markdown]
# ### Bias, ReLU, pooling
#
# - A **bias** is added to all sums of a channel. Here it is -1, so that a single cell of ink is not
#   enough.
# - **ReLU** replaces negative values by 0. What is left says where the feature is, and how
#   strongly. Without it, layers on top of each other would be no more than one layer (section 4
#   shows that).
# - **Pooling** keeps the largest value of each 2x2 window. The map's sides are halved; *where* the
#   feature is gets coarser, but not *whether* it is there. 7 is odd, so the last row and column are
#   left out.
#
# ### Flattening, fully connected layer, softmax
#
# The 3 x 3 cells of two channels become a list of 18 numbers: row by row, cell by cell, and in each
# cell first the falling channel, then the rising one. A fully connected layer has a weight
# for each of these numbers and each class. The score of a class is the sum of the products. Our
# weights say: a mouth that falls at the lower left and rises at the lower right is a smile, and the
# other way round it is a frown. Softmax turns scores into probabilities: exp(score), divided by
# their sum.

# %%
BIAS = -1.0
rectified = jax.nn.relu(jnp.asarray(sums) + BIAS)
pooled = layers.max_pool(rectified)
flat = np.asarray(pooled).reshape(len(faces), -1)

weights = np.zeros((3, 3, 2, 2))  # height, width, channels in, classes
weights[2, 0, 0] = weights[2, 2, 1] = (1, -1)  # The classes are smile and frown.
weights[2, 2, 0] = weights[2, 0, 1] = (-1, 1)
scores = flat @ weights.reshape(18, 2)
probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

np.testing.assert_allclose(rectified, np.maximum(sums + BIAS, 0))
by_windows = np.asarray(rectified)[:, :6, :6].reshape(len(faces), 3, 2, 3, 2, 2).max(axis=(2, 4))
np.testing.assert_allclose(pooled, by_windows)
as_convolution = layers.conv(pooled, jnp.asarray(weights), "VALID")[:, 0, 0]
np.testing.assert_allclose(scores, as_convolution, rtol=1e-6)
np.testing.assert_array_equal(probabilities.argmax(axis=1), [0, 1])

figure = plt.figure(figsize=(13, 9), layout="constrained")
for half, name, *steps in zip(
    figure.subfigures(2, 1), FACES, faces, sums, rectified, pooled, flat, strict=True
):
    face, of_conv, of_relu, of_pool, listed = map(np.asarray, steps)
    panels = half.subplot_mosaic(
        [["face", "conv 0", "relu 0", "pool 0", "flat", "scores"],
         ["face", "conv 1", "relu 1", "pool 1", "flat", "scores"]],
        width_ratios=(7, 7, 7, 3.5, 1.5, 4),
    )  # fmt: skip
    draw_table(panels["face"], face[..., 0], name, number=False)
    for channel, kernel in enumerate(("falling", "rising")):
        draw_table(panels[f"conv {channel}"], of_conv[..., channel], f"{kernel}: convolution")
        draw_table(panels[f"relu {channel}"], of_relu[..., channel], "bias and ReLU")
        draw_table(panels[f"pool {channel}"], of_pool[..., channel], "pooling")
    draw_table(panels["flat"], listed[:, None], "flat")
    of_face = list(FACES).index(name)
    texts = [f"{k}\nscore {score:g}" for k, score in zip(FACES, scores[of_face], strict=True)]
    panels["scores"].barh(texts, probabilities[of_face], 0.6, color=["C0", "C1"])
    panels["scores"].set(xlim=(0, 1), ylim=(1.6, -0.6), title="probability", box_aspect=1.2)
    panels["scores"].set_xticks([0, 0.5, 1])

# %% [markdown]
# A real net learns its kernels, biases and weights from labelled photos (§3.1). All else is the
# same, only more of it: the paper's net A has 8 layers of convolutions with up to 512 kernels, and
# FC layers of 4096 values.
#
# ## 2. A photo
#
# Here is a net that was trained. It takes colour photos, so the first layer's kernels have 3 x 3
# cells of three colours, and can be shown as small pictures. Each is stretched to the full range of
# colours; grey is a weight of 0. 3x3 is small: there is room for an edge, a spot or a colour, but
# not for the stripes that nets with kernels of 11x11 learn.

# %%
net = vgg_jax.load(WORKDIR, dtype="float32")
if isinstance(PHOTO, str):
    photo = photos.find([PHOTO])(0)
else:
    validation = opening.for_evaluation(net.config)
    photo = Decoded(validation)(PHOTO % len(validation))
display(Markdown(f"The net: `{net}`."))

scale = max(net.model.crop_px, 128)
image = images.centre_crop(photo, scale, scale)
last_of_block = architectures.last_of_blocks(net.model.architecture)
names = ["relu1_1", *last_of_block.values()]
features = {name: np.asarray(maps[0]) for name, maps in net.features(image[None], names).items()}

# %%
kernels = np.asarray(net.params["conv1_1"]["kernel"])
chosen = varied_channels.choose(features["relu1_1"], 8)
figure, axes = plt.subplots(
    2, len(chosen) + 1, figsize=(14, 3.4), layout="constrained", squeeze=False
)
axes[0, 0].set_axis_off()
axes[1, 0].imshow(image)
for panel, channel in zip(axes[0, 1:], chosen, strict=True):
    kernel = kernels[..., channel]
    panel.imshow(0.5 + 0.5 * kernel / np.abs(kernel).max())
for panel, channel in zip(axes[1, 1:], chosen, strict=True):
    panel.imshow(features["relu1_1"][..., channel], cmap="inferno")
for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
display(
    Markdown(
        f"Eight of the {kernels.shape[-1]} kernels of conv1_1, and below each one its feature map "
        f"after ReLU (relu1_1) for the photo on the left, at {scale} px: bright where the photo "
        "looks like the kernel."
    )
)

# %% [markdown]
# ### Feature maps, block by block
#
# Each row is the last layer of a block, after ReLU. A pooling lies between two rows and halves the
# maps' sides. The channels that are shown differ most over this photo, and from each other.
#
# The first maps still look like the photo: edges, colours, light. Deeper maps are coarser. Most of
# their cells are black, because a channel answers to few things, and each cell sees a large part of
# the photo. A bright rim comes from the zeros that convolutions put around the photo: to the net
# they are a border.

# %%
rows = {
    f"{name}\n{maps.shape[0]} x {maps.shape[1]}": maps[..., varied_channels.choose(maps, 8)]
    for name, maps in features.items()
    if name in last_of_block.values()
}
display(feature_maps.figure(image, rows))
shares = ", ".join(f"{name} {(features[name] == 0).mean():.0%}" for name in last_of_block.values())
display(Markdown(f"The share of values that ReLU set to 0, over all channels: {shares}."))

# %% [markdown]
# ## 3. Receptive fields
#
# A value of conv1_1 sees 3x3 px. One of the next layer sees 3x3 of those, together 5x5 px. After a
# pooling, the steps from one cell to the next are twice as long in px, and the fields grow twice as
# fast. The squares show what the value in the middle of each pooling sees, to scale, on a photo at
# the paper's crop of 224 px; the 3x3 px of conv1_1 would be too small to see. On the left is the
# net of this run, on the right the paper's deepest one, E. What lies outside of the photo is zero.

# %%
PAPER_PX = 224
large = images.centre_crop(photo, PAPER_PX, PAPER_PX)


def fields_px(name):
    """Returns the receptive field of the last layer of each block of a net, in px."""
    costs = architectures.costs(architectures.layers(name), PAPER_PX)
    return {c.layer.name: c.receptive_field_px for c in costs if c.layer.kind != "fc"}


def draw_fields(axes, name):
    fields = fields_px(name)
    middle = PAPER_PX / 2
    axes.imshow(large, extent=(0, PAPER_PX, PAPER_PX, 0), alpha=0.8)
    for number in range(1, 6):
        layer = f"pool{number}"
        field, corner = fields[layer], 2 * [middle - fields[layer] / 2]
        text = f"{layer}: {field} px"
        frame = Rectangle(corner, field, field, fill=False, edgecolor=f"C{number}", label=text)
        frame.set(linewidth=2.5, path_effects=[Stroke(linewidth=4.5, foreground="white"), Normal()])
        axes.add_patch(frame)
    axes.set(xlim=(-30, PAPER_PX + 30), ylim=(PAPER_PX + 30, -30), title=f"net {name}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=11)
    axes.set_axis_off()


figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
for panel, name in zip(axes, (net.model.net, "E"), strict=True):
    draw_fields(panel, name)

# %% [markdown]
# Is it true? The gradient of a value says which pixels it depends on. Below is the gradient of one
# cell of the third block's last convolution in the photo's pixels. It must lie within the square,
# and it does. It is strongest in the middle, because the middle pixels reach the cell by more paths
# than those at the rim. Outside, some pixels may have a millionth of the largest value instead of
# 0: fast algorithms convolve a tile of pixels at a time, and leave rounding errors in all of it.

# %%
name = last_of_block["3"].replace("relu", "conv")
field = fields_px(net.model.net)[name]
pixels = jnp.asarray(image, jnp.float32)[None]
row, column = (side // 2 for side in features[last_of_block["3"]].shape[:2])
gradient = jax.grad(lambda x: net.features(x, [name])[name][0, row, column].sum())(pixels)[0]
strength = np.abs(np.asarray(gradient)).max(axis=-1)
seen_rows, seen_columns = np.nonzero(strength > 1e-5 * strength.max())  # Less is rounding.
extent = [int(np.ptp(seen)) + 1 for seen in (seen_rows, seen_columns)]
STRIDE_PX = 4  # Two poolings lie below the third block.
top, left = (cell * STRIDE_PX - (field - STRIDE_PX) // 2 for cell in (row, column))
assert top <= seen_rows.min() <= seen_rows.max() < top + field
assert left <= seen_columns.min() <= seen_columns.max() < left + field

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
axes[0].imshow(image)
axes[1].imshow(np.sqrt(strength), cmap="inferno")
axes[2].imshow(np.sqrt(strength), cmap="inferno")
corner = (left - 0.5, top - 0.5)
for panel, title in zip(axes, ("photo", "gradient", "the square enlarged"), strict=True):
    panel.add_patch(Rectangle(corner, field, field, fill=False, edgecolor="C9", linewidth=2))
    panel.set(title=title)
    panel.set_axis_off()
axes[2].set(
    xlim=(corner[0] - 2, corner[0] + field + 2), ylim=(corner[1] + field + 2, corner[1] - 2)
)
display(
    Markdown(
        f"A value of {name} sees {field} x {field} px by arithmetic. Its gradient is more than "
        f"rounding in {extent[0]} x {extent[1]} px, of the {strength.shape[0]} x "
        f"{strength.shape[1]} px of the photo."
    )
)

# %% [markdown]
# ## 4. Three 3x3 or one 7x7?
#
# Nets before this one began with kernels of 7x7 or 11x11. The paper stacks 3x3 kernels instead
# (§2.3). Three of them on top of each other see 7x7 cells too. What is gained?
#
# - **Fewer weights**: with C channels in and out, three layers have 3 · 9 C² of them, one layer has
#   49 C².
# - **Three ReLUs** instead of one, so that the net can make finer distinctions.
#
# The pictures go backwards from one value of the third layer to the 7 x 7 cells of the input that
# it sees.

# %%
figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
for panel, size, text in zip(
    axes, (1, 3, 5, 7), ("third layer", "second layer", "first layer", "input"), strict=True
):
    seen = np.zeros((7, 7))
    first = (7 - size) // 2
    seen[first : first + size, first : first + size] = 1
    draw_table(panel, 1.5 * seen, f"{text}: {size} x {size} cells", number=False)
    mark(panel, first, first, 1 if size == 1 else 3)
print(net_table.kernel_arithmetic())

# %% [markdown]
# Without ReLUs between them, three layers would be nothing but one layer of 7x7, whose kernel is
# made of theirs. The other way round, three layers are one of 7x7 that is forced to be made of 3x3
# parts, with ReLUs in between; the paper calls this a regularisation. We check it with random
# kernels of four channels. The kernel of the whole stack is its answer to a single 1 in a field of
# zeros.

# %%
CHANNELS = 4
kernels = 0.2 * jax.random.normal(jax.random.key(0), (3, 3, 3, CHANNELS, CHANNELS))


def stack(x, between):
    x = layers.conv(x, kernels[0], "VALID")
    x = layers.conv(between(x), kernels[1], "VALID")
    return layers.conv(between(x), kernels[2], "VALID")


impulses = jnp.zeros((CHANNELS, 13, 13, CHANNELS))
impulses = impulses.at[jnp.arange(CHANNELS), 6, 6, jnp.arange(CHANNELS)].set(1)
answers = stack(impulses, between=lambda x: x)  # channel in, row, column, channel out
one_kernel = answers[:, ::-1, ::-1].transpose(1, 2, 0, 3)
assert one_kernel.shape == (7, 7, CHANNELS, CHANNELS)

x = jax.random.normal(jax.random.key(1), (1, 20, 20, CHANNELS))
one_layer = layers.conv(x, one_kernel, "VALID")
np.testing.assert_allclose(stack(x, between=lambda x: x), one_layer, atol=1e-5)
difference = float(jnp.abs(stack(x, between=jax.nn.relu) - one_layer).max())
display(
    Markdown(
        f"Three layers without ReLU equal the one layer to 1e-5. With ReLUs in between they differ "
        f"by up to {difference:.2f}, where the one layer's values go up to "
        f"{float(jnp.abs(one_layer).max()):.2f}."
    )
)

# %% [markdown]
# The paper tried a smaller case (§4.1): it replaced each pair of 3x3 layers of net B by one layer
# of 5x5. The top-1 error was 7 points higher. Here that net is called B-5x5.
#
# ## 5. The six nets in numbers
#
# Table 1 to scale. All nets have five blocks, with a pooling after each, and three fully connected
# layers. They differ in the number of convolutions. D and E are those that the authors published as
# VGG-16 and VGG-19. The text table has a seventh net, which isn't in Table 1: B-5x5, from the end
# of section 4.

# %%
display(net_picture.figure(NetSpec("all")))
print(net_table.comparison(NetSpec("all")))

# %% [markdown]
# The tables below have a row for each layer and a column for each net, on one image of 224 x 224
# px. They show three things:
#
# - Most **parameters** are in FC6: it has a weight for each of the 7 x 7 x 512 values of pool5 and
#   each of its 4096 outputs.
# - Most **values**, which training keeps in memory for the backward pass, are in the first two
#   blocks, whose maps are large. In float32 a value takes 4 bytes.
# - The **multiply-adds** are spread over the convolutions: where the maps have a quarter of the
#   cells, there are twice as many channels in and out.

# %%
costs = {
    name: {cost.layer.name: cost for cost in architectures.costs(NetSpec(name).layers(), PAPER_PX)}
    for name in architectures.TABLE_2_MILLIONS
}
layer_names = ["input", *costs["E"]]
layer_names.insert(2, "norm1")
NUM_INPUTS = 3 * PAPER_PX**2  # Values that training keeps too.
COLUMNS = {
    "parameters": lambda cost: cost.layer.num_parameters,
    "values": lambda cost: cost.values,
    "multiply-adds": lambda cost: cost.multiply_adds,
}


figure, axes = plt.subplots(1, 3, figsize=(15, 8.6), layout="constrained", sharey=True)
for panel, (title, number) in zip(axes, COLUMNS.items(), strict=True):
    table = np.array(
        [
            [number(net_costs[name]) if name in net_costs else 0 for net_costs in costs.values()]
            for name in layer_names
        ],
        float,
    )
    if title == "values":
        table[layer_names.index("input")] = NUM_INPUTS
    table[table == 0] = np.nan
    norm = LogNorm(np.nanmin(table), np.nanmax(table))
    panel.imshow(table, cmap="YlGnBu", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if value > 0:
            colour = "white" if norm(value) > 0.6 else "black"
            text = text_table.short(value)
            panel.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    totals = [
        f"{name}\n{text_table.short(total)}"
        for name, total in zip(costs, np.nansum(table, 0), strict=True)
    ]
    panel.set_xticks(range(len(costs)), totals)
    panel.set_yticks(range(len(layer_names)), layer_names)
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.set_title(title, fontsize=13)
    panel.spines[:].set_visible(False)

# %%
of_d = costs["D"].values()
sums = {title: sum(map(number, of_d)) for title, number in COLUMNS.items()}
sums["values"] += NUM_INPUTS
in_fc6 = costs["D"]["fc6"].layer.num_parameters / sums["parameters"]
in_blocks_1_and_2 = sum(
    cost.values for cost in of_d if cost.layer.name[:5] in ("conv1", "pool1", "conv2", "pool2")
)
in_fc = sum(cost.multiply_adds for cost in of_d if cost.layer.kind == "fc")
display(
    Markdown(
        f"In D, FC6 has {in_fc6:.0%} of the parameters. The first two blocks have "
        f"{in_blocks_1_and_2 / sums['values']:.0%} of the values. The three FC layers do "
        f"{in_fc / sums['multiply-adds']:.1%} of the multiply-adds."
    )
)

# %% [markdown]
# Training needs more memory than the values alone: their gradients, the parameters, their gradients
# and their momentum. The library predicts the sum for a training step of 256 images, the paper's
# batch (§3.1).

# %%
print(memory_table.table(NetSpec("all"), StepSpec(256)))

# %% [markdown]
# And this is the net of this run, layer by layer, as `python -m vgg_jax.describe` prints it.

# %%
model = net.model
print(net_table.column(NetSpec(model.net, model.num_classes, model.width, model.crop_px)))
