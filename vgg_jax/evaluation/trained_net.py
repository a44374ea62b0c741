"""The net for users: a pytree and a function in JAX, and a classifier of NumPy's images."""

import dataclasses
import functools
import hashlib
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float32, Int, Int32, Key, UInt8
from ml_collections import FrozenConfigDict
from PIL import Image

from vgg_jax.data import images
from vgg_jax.errors import UserError, require
from vgg_jax.evaluation import differentiable, methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.inference import Inference, ParamsOutline
from vgg_jax.evaluation.posterior_pass import PosteriorPass
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import CELL_PX
from vgg_jax.nets.vgg import VGG, Params
from vgg_jax.system import progress_bar

RgbImage = UInt8[np.ndarray, "_ _ 3"]

STRIDES_PX = (32, 16, 8, 4, 2, 1)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["inference"],
    meta_fields=["class_names", "config", "step"],
)
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedNet:
    """A net with its parameters, its normalisation of images and its classes' names.

    In JAX, the net is a function of images, `net(images)`, and a pytree, whose leaves are the
    parameters. It can be an argument of transformed functions, and gradients in the parameters
    are again a net: `jax.grad(lambda net: loss(net(images)))(net)`. `__call__` and `features` take
    and return JAX arrays; `posteriors` and `score_map` take and return NumPy arrays.

    Attributes:
      inference: The net on its devices.
      class_names: The name of each class, in the order of the outputs.
      config: The run's config, with the dtype of this net.
      step: The training step of the checkpoint.
    """

    inference: Inference
    class_names: tuple[str, ...]
    config: FrozenConfigDict
    step: int

    def __call__(
        self,
        images: Array | np.ndarray,
        *,
        train: bool = False,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float32[Array, "b c"]:
        """Computes the class scores of images, without a flip and before softmax (§3.2).

        The result is the average of each image's class score map. JAX can transform this function,
        and differentiate it in the images and the parameters, in reverse mode only: not by
        `jax.jvp`, `jax.jacfwd` or `jax.hessian`. `jax.grad` of `jax.grad` works.

        Args:
          images: (b, h, w, 3) RGB of 0-255, uint8 or float. Each side is at least the net's crop.
            Outside transformations, a warning says if they look like images of another range.
            Images that hold NaN or infinite values are not refused: their scores are NaN.
          train: Whether to apply dropout, as in training.
          dropout_key: A key of `jax.random.key` for the whole batch, from which each image's own
            masks are drawn. It is needed if `train`, and ignored otherwise. Within `shard_map`,
            fold the device's index into it.

        Returns:
          The class scores (logits), a row per image.

        Raises:
          UserError: The images have another dtype or shape or are too small, or `train` has no key
            or several.
        """
        if train:
            differentiable.check_dropout_key(dropout_key)
        return differentiable.logits(self.inference, images, dropout_key if train else None)

    def features(
        self, images: Array | np.ndarray, names: Sequence[str]
    ) -> dict[str, Float32[Array, "b ..."]]:
        """Computes the named features of images, and no layer that they don't need.

        JAX can transform this function as it can `__call__`.

        Args:
          images: (b, h, w, 3) RGB of 0-255, uint8 or float. For fc6 and later names, each side is
            at least the net's crop. Otherwise it is large enough for the poolings on the way: at
            least 4 px for relu3_3, 8 px for pool3.
          names: Names of the authors' release, as a list. conv3_1 is before ReLU, relu3_1 after
            it, norm1 (A-LRN) after LRN, and pool3 after pooling. fc6 and fc7 are before ReLU, relu6
            and relu7 after it. fc8 is the class score map, and prob the softmax of its average.

        Returns:
          The features by name: (b, c) for prob, (b, h2, w2, c) for the others. They are float32,
          and have bfloat16's precision where the net computes in bfloat16.

        Raises:
          UserError: The net has no feature of a given name, the names are a string instead of a
            list, or the images have another dtype or shape or are too small.
        """
        return differentiable.features(self.inference, images, names)

    def __repr__(self) -> str:
        model, layers = self.model, self.model.architecture
        head = f"{len(self.class_names):,} classes, crop {model.crop_px} px"
        if not self.class_names:  # It was imported without FC layers.
            layers, head = [layer for layer in layers if layer.kind != "fc"], "no FC layers"
        return (
            f"TrainedNet(net {model.net}, {architectures.num_parameters(layers):,} parameters, "
            f"{head}, {np.dtype(model.dtype)}, step {self.step:,})"
        )

    @property
    def model(self) -> VGG:
        """The net, without its parameters."""
        return self.inference.model

    @property
    def params(self) -> Params | ParamsOutline:
        """The parameters: {layer: {"kernel": HWIO, "bias": O}}, float32; see `loading.outline`."""
        return self.inference.params

    def posteriors(
        self,
        images: Sequence[RgbImage],
        *,
        method: str = "dense",
        scales: Sequence[int] = (),
        batch_px: int = 0,
    ) -> Float32[np.ndarray, "n c"]:
        """Classifies images of any sizes as the paper tests nets (§3.2).

        Args:
          images: RGB, 0-255.
          method: "dense", "multicrop", "both" for their average, "tencrop", or "MODULE:NAME"
            for a method of your own.
          scales: The test scales Q in px, whose posteriors are averaged; empty for the config's.
          batch_px: See `image_pass.ImagePass`.

        Returns:
          The probabilities of the classes, a row for each image.

        Raises:
          UserError: A scale is below the net's crop, an image is not uint8 RGB, the images or the
            scales are no list, or there is no such method.
        """
        require(
            isinstance(images, Iterable) and not isinstance(images, str | os.PathLike),
            "The images are a list, also a single one: net.posteriors([image]).",
        )
        opened = [to_pillow(image, index) for index, image in enumerate(images)]
        sizes = np.array([(image.height, image.width) for image in opened], np.int32)
        result = np.zeros((len(opened), len(self.class_names)), np.float32)
        for indices, values in self.posteriors_as_computed(
            opened.__getitem__,
            sizes.reshape(-1, 2),
            method=method,
            scales=scales,
            batch_px=batch_px,
        ):
            result[indices] = values
        return result

    def posteriors_as_computed(
        self,
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: str = "dense",
        scales: Sequence[int] = (),
        batch_px: int = 0,
        progress: bool = False,
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]]:
        """Computes the same as `posteriors` for images that needn't all be in memory.

        Args:
          load_image: Takes an index and returns the RGB image. Several threads call it.
          sizes: Height and width of each image, in px.
          method, scales, batch_px: See `posteriors`.
          progress: Whether to show a progress bar.

        Yields:
          The indices of some images and their posteriors, during the last of the passes.

        Raises:
          UserError: See `posteriors`.
        """
        methods.check("method", method)
        require(
            isinstance(batch_px, numbers.Real) and batch_px >= 0,
            f"batch_px={batch_px!r} must be a number, 0 or above.",
        )
        scales = evaluation_settings.listed(scales) or evaluation_settings.test_scales(self.config)
        evaluation_settings.check_scales(scales, self.model.crop_px)
        passes = [
            PosteriorPass(
                self.inference, load_image, sizes, method=single, scale=scale, batch_px=batch_px
            )
            for single in methods.singles(method)
            for scale in scales
        ]
        total = np.zeros((len(sizes), len(self.class_names)))
        num_images = len(passes) * len(sizes)
        with progress_bar.bar(num_images, "images", method, disable=not progress) as bar:
            for image_pass in passes:
                for indices, values in image_pass.run():
                    total[indices] += values
                    bar.update(len(indices))
                    if image_pass is passes[-1]:
                        yield indices, (total[indices] / len(passes)).astype(np.float32)

    def score_map(
        self, image: RgbImage, *, scale: int | None = None, stride_px: int = 32
    ) -> Float32[np.ndarray, "h w c"]:
        """Computes the class score map of a whole image (§3.2).

        Cell (i, j) has the scores of the window of crop_px x crop_px px whose upper left corner is
        pixel (i, j) * stride_px of the rescaled image. Cells of ceil pooling whose windows reach
        beyond the image are left out.

        Args:
          image: RGB, 0-255.
          scale: The test scale Q in px; None for the mean of the config's.
          stride_px: Distance from one window to the next: 32 as in the paper, or 16, 8, 4, 2 or 1.
            Below 32, the net is also applied to the image without its first rows and columns, and
            the maps are interleaved.

        Returns:
          Unnormalised class scores.

        Raises:
          UserError: The scale is below the net's crop or no whole number, the stride is none of
            these, or the image is not uint8 RGB.
        """
        self.inference.require_fc_layers()
        if stride_px not in STRIDES_PX or not isinstance(stride_px, numbers.Integral):
            raise UserError(f"stride_px={stride_px} must be 32, 16, 8, 4, 2 or 1.")
        pixels = self._rescaled(image, scale)
        size = np.array(pixels.shape[:2])
        # The image is padded, so that images of similar sizes share a program.
        pixels = np.pad(pixels, [*((0, -n % CELL_PX) for n in size), (0, 0)])
        crop_px, step = self.model.crop_px, CELL_PX // stride_px
        result = np.zeros((*((size - crop_px) // stride_px + 1), len(self.class_names)), np.float32)
        for i, j in np.ndindex(step, step):
            top, left = i * stride_px, j * stride_px
            left_px = size - (top, left)
            if left_px.min() < crop_px:
                continue
            shifted = np.roll(pixels, (-top, -left), axis=(0, 1))
            (scores,) = np.asarray(
                self.inference.call(
                    Inference.score_maps, shifted[None], left_px[None].astype(np.int32)
                )
            )
            place = result[i::step, j::step]
            # Ceil pooling can give one more cell, whose window reaches beyond the image.
            rows, columns = np.minimum(self.model.score_cells(left_px), place.shape[:2])
            place[:rows, :columns] = scores[:rows, :columns]
        return result

    def digest(self) -> str:
        """Returns the SHA-256 of the parameters' names and values."""
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()

    def identity(self) -> dict[str, Any]:
        """Returns all that the net's values for an image depend on, as plain values."""
        model, normalise = self.model, self.inference.normalise
        return {
            "parameters": self.digest(),
            "net": model.net,
            "crop_px": model.crop_px,
            "mean_rgb": list(normalise.mean_rgb),
            "input_scale": normalise.input_scale,
            "pooling": model.pooling,
            "dtype": str(model.dtype),
        }

    def _rescaled(self, image: RgbImage, scale: int | None) -> RgbImage:
        scales = evaluation_settings.test_scales(self.config)
        scale = round(sum(scales) / len(scales)) if scale is None else scale
        require(
            isinstance(scale, numbers.Integral),
            f"scale={scale!r} must be a whole number of px: scale=256.",
        )
        evaluation_settings.check_scales((scale,), self.model.crop_px)
        return images.rescale(to_pillow(image, 0), scale)


def to_pillow(image: np.ndarray, index: int) -> Image.Image:
    """Converts an array that a user gave to a Pillow image.

    Raises:
      UserError: The array is not an `RgbImage`. The message names the image by its index.
    """
    if isinstance(image, str | os.PathLike):
        raise UserError(
            f"Image {index} is the path {image}. Open it: PIL.Image.open(path).convert('RGB')."
        )
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise UserError(
            f"Image {index} is {image.dtype} of shape {image.shape}, not uint8 RGB of (h, w, 3). "
            "Images are given as a list, also a single one."
        )
    return Image.fromarray(image)
