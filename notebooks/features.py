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
# change `WORKDIR` below. For the quickstart it takes under a minute on two CPU cores. With two
# photos of your own, only section 3 needs the validation images.

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
from vgg_jax.data import images, opening, photos
from vgg_jax.data.decoded import Decoded
from vgg_jax.errors import UserError
from vgg_jax.evaluation import class_maps
from vgg_jax.foreign import class_names
from vgg_jax.nets import architectures, layers
from vgg_jax.plots import feature_maps, score_map

# %matplotlib inline

jax.config.update("jax_default_matmul_precision", "highest")  # On accelerators too.
os.chdir(pathlib.Path(vgg_jax.__file__).parents[1])  # Paths count from the checkout.
WORKDIR = "runs/quickstart"
# The numbers of two of these images, or image files of your own, such as "cat.jpg".
PHOTO, STYLE = 12, 384

# %%
net = vgg_jax.load(WORKDIR, dtype="float32")
net.inference.require_fc_layers()  # Sections 3 and 4 use them.
crop_px = net.model.crop_px
names = [class_names.short(name) for name in net.class_names]
try:
    validation = opening.for_evaluation(net.config)
    open_validation = Decoded(validation)
except UserError:
    if not (isinstance(PHOTO, str) and isinstance(STYLE, str)):
        raise  # Without these images, PHOTO and STYLE must be files.
    validation = None
    display(Markdown("The run's validation images can't be opened: section 3 will be skipped."))


def open_photo(which):
    """Opens a photo by its number or its path."""
    if isinstance(which, str):
        return photos.find([which])(0)
    return open_validation(which % len(validation))


photo = open_photo(PHOTO)
scale = max(crop_px, 128)
image = images.centre_crop(photo, scale, scale)
last_of_block = architectures.last_of_blocks(net.model.architecture)
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
# depends on. The pictures show the square root of its absolute value, so that small values can be
# seen too. A black block is exactly 0: ReLU set the channel to 0 in every cell that sees these
# pixels, so that a small change of them changes nothing.


# %%
@jax.jit
def channel_sums(net, pixels):
    """Sums each channel over the photo."""
    return net.features(pixels[None], [layer])[layer].sum(axis=(0, 1, 2))


pixels = jnp.asarray(image, jnp.float32)
maps = np.asarray(net.features(image[None], [layer])[layer][0])
gradient_of = jax.jit(jax.grad(lambda pixels, net, channel: channel_sums(net, pixels)[channel]))
strongest, zeros = chosen[:4], []
figure, axes = plt.subplots(2, 1 + len(strongest), figsize=(13, 5.3), layout="constrained")
axes[0, 0].imshow(image)
axes[1, 0].set_axis_off()
for (upper, lower), channel in zip(axes.T[1:], strongest, strict=True):
    gradient = np.asarray(gradient_of(pixels, net, channel))
    upper.imshow(maps[..., channel], cmap="inferno")
    lower.imshow(np.sqrt(np.abs(gradient).max(axis=-1)), cmap="gray", vmin=0)
    upper.set_title(f"channel {channel}")
    zeros.append(f"{(gradient == 0).all(axis=-1).mean():.0%}")
for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
axes[0, 1].set_ylabel("map")
axes[1, 1].set_ylabel("root of the gradient")

# A small step along the gradient must raise the channel, as much as the gradient says.
step = 0.5 * gradient / np.abs(gradient).max()
before, after = (float(channel_sums(net, x)[channel]) for x in (pixels, pixels + step))
assert after > before
display(
    Markdown(
        f"The share of pixels with a gradient of 0, per channel: {', '.join(zeros)}.\n\n"
        "If each pixel of the photo changes by at most half a grey level along the last gradient, "
        f"the channel's sum rises from {before:.2f} to {after:.2f}. The gradient predicts a rise "
        f"by {float((step * gradient).sum()):.2f}; it was {after - before:.2f}."
    )
)

# %% [markdown]
# ## 2. Perceptual distance
#
# How alike are two photos? The difference of their pixels is a poor answer: it takes noise that we
# hardly see for as large a change as another light. Zhang et al. (2018) asked people, and found
# that the features of nets trained on ImageNet agree with them better than pixels do. What follows
# asks nobody: it shows only what this net minds. The distance of two photos a and b in a layer f is
# |f(a) - f(b)| / (|f(a)| + |f(b)|): 0 for the same photo, and at most 1.
#
# We change the photo in four ways, each of which changes its pixels by the same amount. Beside them
# is another photo of the same class and one of another class. The lower the number, the less the
# net minds. It can learn to ignore what it meets in training: other places of the crop, a shift of
# the colours (§3.1), and the noise of the photos. More contrast is not among these, and it
# multiplies the differences between pixels. Convolution and ReLU hand a factor on, so that it
# reaches the deepest layer. A map moves together with the photo, so that a move counts as a
# difference until the map is averaged over its cells, as in the last row.


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
if isinstance(PHOTO, int):
    all_labels = np.array([validation.label(i) for i in range(len(validation))])
    number = PHOTO % len(validation)
    same = np.flatnonzero(all_labels == all_labels[number])
    for text, candidates in (
        ("same class", same[same != number]),
        ("another class", np.flatnonzero(all_labels != all_labels[number])),
    ):
        if len(candidates):
            other = open_validation(int(candidates[len(candidates) // 2]))
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
    colour = "white" if value > 0.7 * table.max() else "black"
    panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
panel.set_xticks(range(len(changed)), list(changed))
panel.set_yticks(range(len(table)), list(of_all))
panel.tick_params(length=0)
numbers = dict(zip(changed, table[-1], strict=True))
least, *_, most = sorted(list(changed)[1:5], key=numbers.get)
others = "".join(f"; '{text}' is at {numbers[text]:.2f}" for text in list(changed)[5:])
display(
    Markdown(
        "The distance from the photo, in its pixels, in the last layer of each block, and in the "
        f"average of {deepest} over its cells. All four changes are {amount:.1f} grey levels per "
        f"pixel (root mean square); more contrast multiplies by {1 + amount / contrast.std():.2f}. "
        f"In the last row, the net minds '{least}' least ({numbers[least]:.2f}) and '{most}' most "
        f"({numbers[most]:.2f}){others}."
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
def neighbours(values):
    """Returns the other images in the order of the angle to each image's values."""
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)


SKIPPED = "Skipped: this needs the run's validation images."
if validation is None:
    display(Markdown(SKIPPED))
else:
    crop_cost = sum(c.multiply_adds for c in architectures.costs(net.model.architecture, crop_px))
    num_images = int(np.clip(1e12 / crop_cost, 50, 500))  # A large net gets fewer.
    chosen = np.linspace(0, len(validation) - 1, min(num_images, len(validation))).astype(int)
    crops = np.stack([images.centre_crop(open_validation(i), crop_px, crop_px) for i in chosen])
    labels = np.array([validation.label(int(i)) for i in chosen])
    batch, layer_names = 25, [last_of_block["1"], layer, last_of_block["5"], "relu7"]
    parts = []
    for start in range(0, len(crops), batch):
        of_batch = crops[start : start + batch]
        padded = np.pad(of_batch, [(0, batch - len(of_batch)), (0, 0), (0, 0), (0, 0)])  # one shape
        computed = net.features(padded, layer_names)
        parts.append(
            {k: np.asarray(v.mean(axis=(1, 2)))[: len(of_batch)] for k, v in computed.items()}
        )
    described = {k: np.concatenate([part[k] for part in parts]) for k in layer_names}
    thumbnails = [np.asarray(Image.fromarray(crop).resize((8, 8))).ravel() for crop in crops]
    described = {"8 x 8 px": np.stack(thumbnails).astype(np.float32) - 128, **described}

    queries, shown = np.linspace(0, len(crops) - 1, 7).astype(int)[1:-1], 7
    order = neighbours(described["relu7"])
    size = (12, 1.75 * len(queries))
    figure, axes = plt.subplots(len(queries), shown + 1, figsize=size, layout="constrained")
    for row, query in zip(axes, queries, strict=True):
        for panel, index in zip(row, [query, *order[query, :shown]], strict=True):
            panel.imshow(crops[index])
            panel.set(xticks=[], yticks=[])
            panel.set_title(names[labels[index]][:18] if labels[index] >= 0 else "", fontsize=9)
            colour = "black" if index == query else "C2" if labels[index] == labels[query] else "C3"
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
if validation is None:
    display(Markdown(SKIPPED))
else:
    right = {k: float((labels[neighbours(v)[:, 0]] == labels).mean()) for k, v in described.items()}
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    axes.bar(
        list(right),
        [100 * share for share in right.values()],
        color=["0.6", "C0", "C0", "C0", "C0"],
    )
    axes.axhline(100 / len(names), color="0.3", linestyle="--", linewidth=1)
    in_layers = ", ".join(f"{right[name]:.0%} in {name}" for name in layer_names)
    axes.set(ylabel="same class, %", title="the nearest neighbour has the photo's class")
    display(
        Markdown(
            "Compared by their pixels, the photos have a nearest neighbour of their own class in "
            f"{right['8 x 8 px']:.0%} of all cases; compared by layers, {in_layers}. The best of "
            f"these layers is {max(layer_names, key=right.get)} here. The dashed line is chance. "
            "The net was trained on these classes, but not on these photos."
        )
    )

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
#
# Neither picture says that the net looks at the right thing. A net that was trained on few images
# may use the background, even where it is right.

# %%
last = last_of_block["5"]


def head(params, maps):
    """Computes class scores from the last convolution's maps, after ReLU."""
    x = layers.max_pool(layers.pad_odd(maps) if net.model.pooling == "ceil" else maps)
    for name in ("fc6", "fc7", "fc8"):
        x = layers.conv(x, params[name]["kernel"], "VALID") + params[name]["bias"]
        x = x if name == "fc8" else jax.nn.relu(x)
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
square = images.centre_crop(photo, q, q)
shown = [(square, validation.label(PHOTO % len(validation)) if isinstance(PHOTO, int) else -1)]
if validation is not None:
    tried = chosen[:: max(1, len(chosen) // 40)]
    squares = np.stack([images.centre_crop(open_validation(i), q, q) for i in tried])
    truth = np.array([validation.label(int(i)) for i in tried])
    probability = np.asarray(jax.nn.softmax(net(squares)))
    is_right = probability.argmax(axis=1) == truth
    surest_first = [i for i in np.argsort(-probability.max(axis=1)) if is_right[i]]
    surest_of_class = {}
    for i in surest_first:
        surest_of_class.setdefault(int(truth[i]), squares[i])
    surest_of_class.pop(int(net(square[None])[0].argmax()), None)
    shown += [(of_class, k) for k, of_class in list(surest_of_class.items())[:3]]

figure, axes = plt.subplots(
    3, len(shown), figsize=(2.75 * len(shown), 8.6), layout="constrained", squeeze=False
)
for column, (square, label) in zip(axes.T, shown, strict=True):
    maps = net.features(square[None], [last])[last]
    scores = head(net.params, maps)
    np.testing.assert_allclose(scores, net(square[None]), rtol=1e-3, atol=1e-3)
    k = int(scores[0].argmax())
    seen = class_maps.around_pixels(net, square, np.array([k]), scale=q)[..., 0]
    column[0].imshow(square)
    verdict = "right" if k == label else f"wrong: {names[label][:18]}"
    column[0].set_title(
        f"{names[k][:24]} {jax.nn.softmax(scores[0])[k]:.0%}\n"
        + (verdict if label >= 0 else "true class unknown")
    )
    column[1].imshow(light_up(square, grad_cam(net.params, maps, k)))
    column[2].imshow(light_up(square, seen))
for panel, text in zip(axes[:, 0], (f"photo, Q = {q}", "Grad-CAM", "class score map"), strict=True):
    panel.set_ylabel(text, fontsize=12)
for panel in axes.ravel():
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
display(
    Markdown(
        "The photo of this notebook"
        + (", and some of other classes that the net gets right most surely" * (len(shown) > 1))
        + ". Above each stand its most probable class, and whether that is right. The lower "
        "pictures are in colour where the class is seen most, and dark where it is seen least. "
        f"Grad-CAM has a cell for each 16 px. A window of the score map is {crop_px} px wide, so "
        "that it is smoother."
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
# it makes can't be better than what the net has learned**: with the quickstart's, the result takes
# little more than colours from the second photo. For the real thing, import the weights of VGG-19.
# Then change `WORKDIR`, and set `PHOTO` and `STYLE` to files of your own:
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
curve.append(distances(pixels, net))
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
        f"{STEPS} steps of Adam on {SIZE} x {SIZE} px. The distance of the style, which is 1 "
        f"between the two photos, fell by {1 - curve[-1, 1]:.1%}, to {curve[-1, 1]:.3f}. In "
        f"return, the distance of the content rose from 0 to {curve[-1, 0]:.2f}; the second photo "
        f"itself is at {distances(style, net)[0]:.2f}. **The net that made this** is "
        f"{net.model.net} with {parameters:,} parameters and {len(names):,} classes. The paper's E "
        f"has {of_e:,} parameters and 1,000 classes."
    )
)
