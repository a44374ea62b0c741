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
# # Features
#
# A net that has learned to classify photos is useful for more than that. The values of its hidden
# layers, its features, say what is in a photo in a better way than its pixels do. The paper's
# appendix B shows it for other data sets. This notebook shows five uses:
#
# 1. the maps of a middle layer, and their gradient in the pixels
# 2. perceptual distance: how alike two photos are, seen by the net
# 3. nearest neighbours: photos that are alike in the last hidden layer
# 4. Grad-CAM: which part of a photo speaks for a class, beside the class score map
# 5. style transfer: one photo's content in the manner of another
#
# **It needs** the workdir of a run and its validation images. The quickstart makes
# `runs/quickstart`: `python -m vgg_jax.main --config=configs/quickstart.py`. For another run,
# change `WORKDIR` below. An imported net comes without images: name a folder of photos in `IMAGES`.
# For the quickstart it takes under a minute on two CPU cores.

# %%
import os
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Markdown, display
from PIL import Image

import vgg_jax
from vgg_jax.analysis import varied_channels
from vgg_jax.data import images, opening, photos, pooled
from vgg_jax.data.decoded import Decoded
from vgg_jax.evaluation import class_maps
from vgg_jax.foreign import class_names
from vgg_jax.nets import architectures, layers
from vgg_jax.plots import feature_maps, score_map

# %matplotlib inline

jax.config.update("jax_default_matmul_precision", "highest")  # On accelerators too.
os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
WORKDIR = "runs/quickstart"
IMAGES = ""  # A folder of photos or of class folders; "" for the run's validation images.
# The numbers of two of these images, or image files of your own, such as "cat.jpg".
PHOTO, STYLE = 12, 384

# %%
net = vgg_jax.load(WORKDIR, dtype="float32")
net.inference.require_fc_layers()  # Sections 3 and 4 use them.
crop_px = net.model.crop_px
names = [class_names.short(name) for name in net.class_names]
source = pooled.open_images(IMAGES) if IMAGES else opening.for_evaluation(net.config)
image_names = [class_names.short(name) for name in source.class_names]
open_image = Decoded(source)


def open_photo(which):
    """Opens a photo by its number or its path."""
    if isinstance(which, str):
        return photos.find([which])(0)
    return open_image(which % len(source))


photo = open_photo(PHOTO)
scale = max(crop_px, 128)
image = images.centre_crop(photo, scale, scale)
last_of_block = {
    layer.name[4]: layer.name.replace("conv", "relu")
    for layer in net.model.architecture
    if layer.kind == "conv"
}
layer = last_of_block["3"]
display(
    Markdown(
        f"The net: `{net}`. The last layer of its third block is **{layer}**; in the paper's net D "
        "it is relu3_3."
    )
)

# %% [markdown]
# ## 1. A middle layer
#
# The third block lies between pixels and objects. Its channels answer to corners, curves, textures
# and parts. Each map below is one channel: bright where the photo has what the channel looks for.

# %%
whole = images.rescale(photo, max(crop_px, 192))
maps = np.asarray(net.features(whole[None], [layer])[layer][0])
chosen = varied_channels.choose(maps, 12)
half = len(chosen) // 2
rows = {layer: maps[..., chosen[:half]], "": maps[..., chosen[half : 2 * half]]}
display(feature_maps.figure(whole, rows))
display(
    Markdown(
        f"The photo at {min(whole.shape[:2])} px, and {2 * half} of {layer}'s {maps.shape[-1]} "
        "channels: those that vary most over it and differ most from each other."
    )
)

# %% [markdown]
# JAX differentiates the net in its input too. The gradient of a channel's sum says for each pixel
# how much the channel would change if the pixel changed. It marks the pixels that the channel
# depends on.


# %%
@jax.jit
def channel_sums(net, pixels):
    """Sums each channel over the photo."""
    return net.features(pixels[None], [layer])[layer].sum(axis=(0, 1, 2))


pixels = jnp.asarray(image, jnp.float32)
maps = np.asarray(net.features(image[None], [layer])[layer][0])
gradient_of = jax.jit(jax.grad(lambda pixels, net, channel: channel_sums(net, pixels)[channel]))
strongest = chosen[:4]
figure, axes = plt.subplots(2, 1 + len(strongest), figsize=(13, 5.3), layout="constrained")
axes[0, 0].imshow(image)
axes[1, 0].set_axis_off()
for (upper, lower), channel in zip(axes.T[1:], strongest, strict=True):
    gradient = np.asarray(gradient_of(pixels, net, channel))
    upper.imshow(maps[..., channel], cmap="inferno")
    lower.imshow(np.abs(gradient).max(axis=-1) ** 0.5, cmap="gray")
    upper.set_title(f"channel {channel}")
for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
axes[0, 1].set_ylabel("map")
axes[1, 1].set_ylabel("gradient")

# A small step along the gradient must raise the channel, as much as the gradient says.
step = 0.5 * gradient / np.abs(gradient).max()
before, after = (float(channel_sums(net, x)[channel]) for x in (pixels, pixels + step))
assert after > before
display(
    Markdown(
        "If each pixel of the photo changes by at most half a grey level along the last gradient, "
        f"the channel's sum rises from {before:.2f} to {after:.2f}. The gradient predicts a rise "
        f"by {float((step * gradient).sum()):.2f}; it was {after - before:.2f}."
    )
)

# %% [markdown]
# ## 2. Perceptual distance
#
# How alike are two photos? The difference of their pixels is a poor answer: noise that we hardly
# see changes them as much as a change of light does. The difference of features is closer to what
# we see (Johnson et al. 2016, Zhang et al. 2018). Here the distance of two photos a and b in a
# layer f is |f(a) - f(b)| / (|f(a)| + |f(b)|): 0 for the same photo, and at most 1.
#
# We change the photo in four ways, each of which changes its pixels by the same amount. Beside them
# is another photo of the same class and one of another class. The lower the number, the less the
# net minds. It learns to ignore what it meets in training: other places of the crop, a shift of the
# colours (§3.1), and the noise of the photos. A map moves together with the photo, so that a move
# counts as a difference until the map is averaged over its cells, as in the last row.


# %%
def moved(pixels, px):
    """Moves a photo to the right and down, and repeats its border."""
    return np.pad(pixels, [(px, 0), (px, 0), (0, 0)], "edge")[: len(pixels), : len(pixels)]


original = image.astype(np.float32)
amount = np.sqrt(np.mean((moved(original, 2) - original) ** 2))
noise = np.random.default_rng(0).normal(size=original.shape)
contrast = original - original.mean()
changed = {
    "the photo": original,
    "moved by 2 px": moved(original, 2),
    "brighter": original + amount,
    "more contrast": original + amount * contrast / contrast.std(),
    "noise": original + amount * noise / noise.std(),
}
if isinstance(PHOTO, int) and image_names:
    all_labels = np.array([source.label(i) for i in range(len(source))])
    number = PHOTO % len(source)
    same = np.flatnonzero(all_labels == all_labels[number])
    for text, candidates in (
        ("same class", same[same != number]),
        ("another class", np.flatnonzero(all_labels != all_labels[number])),
    ):
        if len(candidates):
            other = open_image(int(candidates[len(candidates) // 2]))
            changed[text] = images.centre_crop(other, scale, scale).astype(np.float32)

depths = list(last_of_block.values())
of_all = {"pixels": np.stack(list(changed.values())) - 128}
of_all |= net.features(np.stack(list(changed.values())), depths)


def distance(a, b):
    """Compares two arrays, relative to their sizes."""
    return float(jnp.linalg.norm(a - b) / (jnp.linalg.norm(a) + jnp.linalg.norm(b)))


deepest = depths[-1]
of_all = {"pixels": of_all["pixels"], **{name: of_all[name] for name in depths}}
of_all[f"{deepest}, averaged"] = of_all[deepest].mean(axis=(1, 2))
table = np.array(
    [[distance(of_layer[0], of_changed) for of_changed in of_layer] for of_layer in of_all.values()]
)
np.testing.assert_array_equal(table[:, 0], 0)

figure = plt.figure(figsize=(13, 5.4), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=(1.7, 2.2))
for panel, (text, values) in zip(upper.subplots(1, len(changed)), changed.items(), strict=True):
    panel.imshow(np.clip(values, 0, 255).astype(np.uint8))
    panel.set_title(text)
    panel.set_axis_off()
panel = lower.subplots()
panel.imshow(table, cmap="Blues", vmin=0, vmax=1.2 * table.max(), aspect="auto")
for (row, column), value in np.ndenumerate(table):
    panel.text(column, row, f"{value:.2f}", ha="center", va="center")
panel.set_xticks(range(len(changed)), list(changed))
panel.set_yticks(range(len(table)), list(of_all))
panel.tick_params(length=0)
display(
    Markdown(
        "The distance from the photo, in its pixels, in the last layer of each block, and in the "
        f"average of {deepest} over its cells. All four changes are {amount:.1f} grey levels per "
        f"pixel (root mean square). In the last row, {list(changed)[1]} is at {table[-1, 1]:.2f} "
        f"and {list(changed)[-1]} at {table[-1, -1]:.2f}."
    )
)

# %% [markdown]
# ## 3. Nearest neighbours
#
# The values of FC7 after ReLU, relu7, are the last ones before the classes. The paper uses them to
# describe photos of other data sets, on which the net was not trained (appendix B). Photos whose
# descriptions point in the same direction should show the same kind of thing. We describe the
# centre crops of some images, and look for the nearest neighbours of five of them.
# (`python -m vgg_jax.features` does what the appendix does: it averages relu7 over the whole image
# and several scales.)

# %%
crop_cost = sum(c.multiply_adds for c in architectures.costs(net.model.architecture, crop_px))
num_images = int(np.clip(1e12 / crop_cost, 50, 500))  # A large net gets fewer.
chosen = np.linspace(0, len(source) - 1, min(num_images, len(source))).astype(int)
crops = np.stack([images.centre_crop(open_image(i), crop_px, crop_px) for i in chosen])
labels = np.array([source.label(int(i)) for i in chosen])
batch, layer_names = 25, [last_of_block["1"], layer, last_of_block["5"], "relu7"]
parts = []
for start in range(0, len(crops), batch):
    of_batch = crops[start : start + batch]
    padded = np.pad(of_batch, [(0, batch - len(of_batch)), (0, 0), (0, 0), (0, 0)])  # one shape
    computed = net.features(padded, layer_names)
    parts.append({k: np.asarray(v.mean(axis=(1, 2)))[: len(of_batch)] for k, v in computed.items()})
described = {k: np.concatenate([part[k] for part in parts]) for k in layer_names}
thumbnails = [np.asarray(Image.fromarray(crop).resize((8, 8))).ravel() for crop in crops]
described = {"8 x 8 px": np.stack(thumbnails).astype(np.float32) - 128, **described}


def neighbours(values):
    """Returns the other images in the order of the angle to each image's values."""
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)


queries, shown = np.linspace(0, len(crops) - 1, 7).astype(int)[1:-1], 7
order = neighbours(described["relu7"])
size = (12, 1.75 * len(queries))
figure, axes = plt.subplots(len(queries), shown + 1, figsize=size, layout="constrained")
for row, query in zip(axes, queries, strict=True):
    for panel, index in zip(row, [query, *order[query, :shown]], strict=True):
        panel.imshow(crops[index])
        panel.set(xticks=[], yticks=[])
        panel.set_title(image_names[labels[index]][:18] if image_names else "", fontsize=9)
        colour = "C2" if labels[index] == labels[query] else "C3"
        if index == query or not image_names:
            colour = "black"
        for spine in panel.spines.values():
            spine.set(edgecolor=colour, linewidth=3)
axes[0, 0].set_ylabel("query")
display(
    Markdown(
        f"In each row, a photo and its nearest neighbours in relu7 among {len(crops)}. A green "
        "frame is the photo's own class, a red one another."
    )
)

# %%
is_own = source.class_names == net.class_names
if image_names:
    right = {k: float((labels[neighbours(v)[:, 0]] == labels).mean()) for k, v in described.items()}
    shares, colours = [100 * share for share in right.values()], ["0.6", "C0", "C0", "C0", "C0"]
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    axes.bar(list(right), shares, color=colours)
    axes.axhline(100 / len(image_names), color="0.3", linestyle="--", linewidth=1)
    axes.set(ylabel="same class, %", title="the nearest neighbour has the photo's class")
    trained_on = "on these classes, but not on these photos" if is_own else "on other classes"
    display(
        Markdown(
            f"The nearest neighbour is of the same class for {right['8 x 8 px']:.0%} of the photos "
            f"if they are compared by their pixels, and for {right['relu7']:.0%} in relu7. The "
            f"dashed line is chance. The net was trained {trained_on}."
        )
    )
else:
    display(Markdown("These photos have no classes, so nothing says which neighbours are right."))

# %% [markdown]
# ## 4. Grad-CAM and the class score map
#
# Which part of a photo speaks for a class? Two answers:
#
# - The **class score map** (§3.2) asks the net about each window of the photo: what do you see
#   here? See the notebook dense_evaluation.
# - **Grad-CAM** (Selvaraju et al. 2017) asks about the whole photo at once. It takes the maps A of
#   the last convolution, and the gradient of the class's score in them. The mean gradient of a
#   channel is its weight. The weighted sum of the channels, where it is positive, shows what raises
#   the score.
#
# For the gradient we need the rest of the net as a function of A: a pooling and three FC layers. It
# is short enough to write here, and must give the same scores as the net itself.

# %%
last = last_of_block["5"]


def head(params, maps):
    """Computes class scores from the last convolution's maps, after ReLU."""
    x = layers.max_pool(layers.pad_odd(maps) if net.model.pooling == "ceil" else maps)
    for name in ("fc6", "fc7", "fc8"):
        x = layers.conv(x, params[name]["kernel"], "VALID") + params[name]["bias"]
        x = x if name == "fc8" else layers.relu(x)
    return x.mean(axis=(1, 2))


@jax.jit
def grad_cam(params, maps, k):
    """Returns the Grad-CAM map of class k."""
    weights = jax.grad(lambda maps: head(params, maps)[0, k])(maps).mean(axis=(1, 2), keepdims=True)
    return jnp.maximum((weights * maps).sum(axis=-1)[0], 0)


def light_up(photo, heat):
    """Returns the photo in colour where the heat is high, and dark and grey where it is low."""
    heat = np.asarray(heat, np.float32)
    heat = (heat - heat.min()) / max(np.ptp(heat), 1e-9)
    large = Image.fromarray(heat).resize(photo.shape[1::-1], Image.Resampling.BICUBIC)
    return score_map.lit(photo, np.asarray(large))


# %%
q = 3 * crop_px // 2
tried = chosen[:: max(1, len(chosen) // 40)]
squares = np.stack([images.centre_crop(open_image(i), q, q) for i in tried])
probability = np.asarray(jax.nn.softmax(net(squares)))
surest_of_class = {}
for i in np.argsort(probability.max(axis=1)):  # The surest comes last.
    k = int(probability[i].argmax())
    if not is_own or k == source.label(int(tried[i])):
        surest_of_class[k] = squares[i]
square = images.centre_crop(photo, q, q)
surest_of_class.pop(int(net(square[None])[0].argmax()), None)
shown = [square, *list(surest_of_class.values())[::-1][:3]]

figure, axes = plt.subplots(
    3, len(shown), figsize=(2.75 * len(shown), 8.6), layout="constrained", squeeze=False
)
for column, square in zip(axes.T, shown, strict=True):
    maps = net.features(square[None], [last])[last]
    scores = head(net.params, maps)
    np.testing.assert_allclose(scores, net(square[None]), rtol=1e-3, atol=1e-3)
    k = int(scores[0].argmax())
    seen = class_maps.around_pixels(net, square, np.array([k]), scale=q)[..., 0]
    column[0].imshow(square)
    column[0].set_title(f"{names[k][:24]} {jax.nn.softmax(scores[0])[k]:.0%}")
    column[1].imshow(light_up(square, grad_cam(net.params, maps, k)))
    column[2].imshow(light_up(square, seen))
for panel, text in zip(axes[:, 0], (f"photo, Q = {q}", "Grad-CAM", "class score map"), strict=True):
    panel.set_ylabel(text, fontsize=12)
for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
display(
    Markdown(
        "The photo of this notebook, and some that the net classifies most surely, each with its "
        "most probable class. They are in colour where the class is seen most, and dark where it "
        "is seen least. Grad-CAM has a cell for each 16 px. A window of the score map is "
        f"{crop_px} px wide, so that it is smoother."
    )
)

# %% [markdown]
# ## 5. Style transfer
#
# Gatys et al. (2016) made pictures that have the content of one photo and the style of another. The
# content is a layer's features. The style is *which channels are active together*, wherever that
# is: the products of each two channels, averaged over the map. They are called the Gram matrix of
# the layer. From the photo on, its pixels are changed step by step, so that the features stay close
# to the first photo's and the Gram matrices come close to the second's.
#
# The well-known pictures come from this paper's net E, VGG-19, trained on ImageNet's 1.3 million
# photos. This works with any net of this library, and here it runs on the net of this run. **What
# it makes can't be better than what the net has learned**: from a small net one gets colours and
# simple textures. For the real thing, import the weights of VGG-19, change `WORKDIR`, and name your
# photos in `IMAGES`:
#
# `python -m vgg_jax.weights import vgg19-dcbb9e9d.pth runs/torchvision_e`

# %%
SIZE, STEPS, STYLE_WEIGHT, SMOOTHNESS = 160, 100, 10.0, 0.5
content_layer, style_layers = "relu4_1", [f"relu{block}_1" for block in range(1, 6)]
content, style = (
    jnp.asarray(images.centre_crop(open_photo(which), SIZE, SIZE), jnp.float32)[None]
    for which in (PHOTO, STYLE)
)


def gram(maps):
    """Averages the products of each two channels over a map."""
    return jnp.einsum("bhwi,bhwj->ij", maps, maps) / (maps.shape[1] * maps.shape[2])


def squared(values):
    """Sums the squares of values."""
    return (values**2).sum()


def roughness(pixels):
    """Averages the squared differences of neighbouring pixels."""
    return (jnp.diff(pixels, axis=1) ** 2).mean() + (jnp.diff(pixels, axis=2) ** 2).mean()


of_content = net.features(content, [content_layer])[content_layer]
of_style, at_first = (
    {name: gram(maps) for name, maps in net.features(x, style_layers).items()}
    for x in (style, content)
)


def distances(pixels, net):
    """Returns how far a picture's content and style are from those of the two photos.

    The distance of the content is relative to the content, that of each layer's style to that
    between the two photos.
    """
    features = net.features(pixels, sorted({content_layer, *style_layers}))
    content_distance = squared(features[content_layer] - of_content) / squared(of_content)
    style_distances = [
        squared(gram(features[k]) - of_style[k]) / squared(at_first[k] - of_style[k])
        for k in style_layers
    ]
    return content_distance, sum(style_distances) / len(style_distances)


def loss(pixels, net):
    """Returns the sum that is minimised, and both distances."""
    content_distance, style_distance = distances(pixels, net)
    rough = roughness(pixels) / roughness(style)  # Against noise.
    total = content_distance + STYLE_WEIGHT * style_distance + SMOOTHNESS * rough
    return total, jnp.stack([content_distance, style_distance])


optimiser = optax.adam(optax.cosine_decay_schedule(4.0, STEPS))


@jax.jit
def update(pixels, state, net):
    """Makes one step of Adam on the pixels, which stay within 0-255."""
    (_, both), gradient = jax.value_and_grad(loss, has_aux=True)(pixels, net)
    change, state = optimiser.update(gradient, state)
    return jnp.clip(pixels + change, 0, 255), state, both


pixels, state, curve = content, optimiser.init(content), []
for _ in range(STEPS):
    pixels, state, both = update(pixels, state, net)
    curve.append(both)  # It is that of the pixels before the step.
curve = np.array(curve)
assert curve[-1, 1] < curve[0, 1]

# %%
figure, axes = plt.subplots(
    1, 4, figsize=(14, 3.7), layout="constrained", width_ratios=(3, 3, 3, 3.4)
)
pictures = {"content": content, "style": style, "result": pixels}
for panel, (title, values) in zip(axes, pictures.items(), strict=False):
    panel.imshow(np.asarray(values[0]).astype(np.uint8))
    panel.set_title(title)
    panel.set_axis_off()
axes[3].plot(curve[:, 0], label=f"content: {content_layer}")
axes[3].plot(curve[:, 1], label="style: five Gram matrices")
axes[3].set(xlabel="step", ylabel="relative squared distance", yscale="log", ylim=(1e-2, None))
axes[3].legend()
parameters, of_e = (
    architectures.num_parameters(layers_of)
    for layers_of in (net.model.architecture, architectures.layers("E"))
)
display(
    Markdown(
        f"{STEPS} steps of Adam on {SIZE} x {SIZE} px. The distance of the style fell from "
        f"{curve[0, 1]:.2f} to {curve[-1, 1]:.3f}. **The net that made this** is {net.model.net} "
        f"with {parameters:,} parameters, trained on {len(names):,} classes. The paper's E has "
        f"{of_e:,} parameters and 1,000 classes."
    )
)
