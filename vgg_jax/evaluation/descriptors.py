"""Descriptors of images, made of a layer's values over whole images (appendix B of the paper)."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32
from PIL import Image

from vgg_jax.errors import UserError, require
from vgg_jax.evaluation.descriptor_settings import DescriptorSettings
from vgg_jax.evaluation.image_pass import ImagePass
from vgg_jax.evaluation.inference import Inference, PaddedImages, SizesPx
from vgg_jax.evaluation.methods.dense import pool_score_map, whole_images, with_flips
from vgg_jax.nets.architectures import FC_FEATURES
from vgg_jax.nets.vgg import VGG
from vgg_jax.system import progress_bar


def layers(model: VGG) -> tuple[str, ...]:
    """Returns the names of the layers that give descriptors: all features that are maps."""
    names = [name for layer in model.architecture for name in layer.feature_names]
    return tuple(name for name in names if name != "prob")


def check(settings: DescriptorSettings, inference: Inference) -> None:
    """Checks that a net has descriptors of these settings.

    Raises:
      UserError: The net has no such layer, or a scale is below the least that the layer needs.
    """
    layer, model = settings.layer, inference.model
    require(
        layer in layers(model),
        f"The net has no layer {layer!r} that gives descriptors. Choose one of "
        f"{', '.join(layers(model))}.",
    )
    if layer in FC_FEATURES:
        inference.require_fc_layers()
    least_px = model.least_px([layer])
    below = [str(scale) for scale in settings.scales if scale < least_px]
    what = f"crop of {least_px} px" if layer in FC_FEATURES else "poolings"
    require(
        not below,
        f"The scale Q={', '.join(below)} is too small for {layer} because of the net's {what}. "
        f"Choose scales of {least_px} or more, or an earlier layer.",
    )


def compute(
    inference: Inference,
    load_image: Callable[[int], Image.Image],
    sizes: Int32[np.ndarray, "n 2"],
    settings: DescriptorSettings,
    *,
    batch_px: int = 0,
    num_workers: int = 0,
    progress: bool = False,
) -> Float32[np.ndarray, "n d"]:
    """Computes the descriptors of images of any sizes.

    The values of the layer are averaged over the whole image at scale Q, then averaged with those
    of its horizontal flip, then divided by their Euclidean norm. Descriptors of several Q are
    concatenated in the order of the scales, or averaged.

    Args:
      inference: The net.
      load_image, sizes, batch_px, num_workers: See `ImagePass`.
      settings: The layer, the scales and how they are combined.
      progress: Whether to show a progress bar.

    Returns:
      A descriptor per image. d is the number of the layer's channels, times the number of scales
      if the settings say "stack".

    Raises:
      UserError: See `check`; or an image is too long and narrow; or values are not finite.
    """
    check(settings, inference)
    passes = [
        ImagePass(
            inference,
            load_image,
            sizes,
            method=whole_images(of_batch, layer=settings.layer),
            scale=scale,
            batch_px=batch_px,
            num_workers=num_workers,
        )
        for scale in settings.scales
    ]
    parts, num_channels = [], _channels(inference.model, settings)
    total = len(passes) * len(sizes)
    with progress_bar.bar(total, "images", "descriptors", disable=not progress) as bar:
        for each in passes:
            parts.append(_computed(each, len(sizes), num_channels, bar))
    if settings.combine == "average":
        return np.mean(parts, axis=0, dtype=np.float32)
    return np.concatenate(parts, axis=1)


def of_batch(
    inference: Inference, images: PaddedImages, sizes: SizesPx, *, layer: str
) -> Float32[Array, "b d"]:
    """Computes the descriptors of one batch at one scale.

    Args:
      inference: The net.
      images: RGB, 0-255, padded on the right and below with any values.
      sizes: Height and width of the valid part of each image in px, at least `VGG.least_px`.
      layer: The name of the layer.

    Returns:
      Descriptors of norm 1. A descriptor of zeros alone stays so.
    """
    both, sizes = with_flips(images, sizes)
    maps = inference.feature_maps(both, layer, sizes)
    averages = pool_score_map(maps, inference.model.feature_cells(layer, sizes))
    mean = averages.reshape(len(images), 2, -1).mean(axis=1)
    norm = jnp.linalg.norm(mean, axis=1, keepdims=True)
    return mean / jnp.where(norm == 0, 1, norm)


def _channels(model: VGG, settings: DescriptorSettings) -> int:
    named = {name: layer for layer in model.architecture for name in layer.feature_names}
    return named[settings.layer].features


def _computed(
    image_pass: ImagePass, num_images: int, num_channels: int, bar: Any
) -> Float32[np.ndarray, "n d"]:
    result = np.zeros((num_images, num_channels), np.float32)
    with contextlib.closing(image_pass.run()) as computed:
        for indices, values in computed:
            if not np.isfinite(values).all():
                raise UserError(
                    "The descriptors of some images are not finite. The training of this "
                    "checkpoint's net has diverged; choose another checkpoint."
                )
            result[indices] = values
            bar.update(len(indices))
    return result
