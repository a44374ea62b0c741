"""A trained net from its workdir: its posteriors, class score maps and activations in NumPy."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from vgg_jax.data import images
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.image_pass import ImagePass
from vgg_jax.evaluation.inference import Inference, PaddedImages
from vgg_jax.nets import from_config, sharding, vgg
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.architectures import CELL_PX, DType
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.settings import OddEdges
from vgg_jax.nets.vgg import VGG, Params
from vgg_jax.runs import first_params, run_config, saved_steps
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import compilation_cache

RgbImage = UInt8[np.ndarray, "_ _ 3"]

STRIDES_PX = (32, 16, 8, 4, 2, 1)


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """A net with its parameters, its normalisation of images and its classes' names.

    Attributes:
      inference: The net on its devices.
      class_names: The name of each class, in the order of the outputs.
      config: The run's config, with the dtype of this net.
      step: The training step of the checkpoint.
    """

    inference: Inference
    class_names: tuple[str, ...]
    config: ConfigDict
    step: int

    @property
    def model(self) -> VGG:
        """The net, without its parameters."""
        return self.inference.model

    @property
    def params(self) -> Params:
        """The parameters: {layer: {"kernel": HWIO, "bias": O}}, float32."""
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
          batch_px: See `ImagePass`.

        Returns:
          The probabilities of the classes, a row for each image.

        Raises:
          UserError: A scale is below the net's crop, an image is not uint8 RGB, or there is no
            such method.
        """
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
        scales = tuple(scales) or evaluation_settings.test_scales(self.config)
        evaluation_settings.check_scales(scales, self.model.crop_px)
        passes = [
            ImagePass(
                self.inference, load_image, sizes, method=single, scale=scale, batch_px=batch_px
            )
            for single in methods.singles(method)
            for scale in scales
        ]
        total = np.zeros((len(sizes), len(self.class_names)))
        with tqdm(total=len(passes) * len(sizes), unit=" images", disable=not progress) as bar:
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
          UserError: The scale is below the net's crop, or the stride is none of these.
        """
        if stride_px not in STRIDES_PX:
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

    def activations(
        self,
        image: RgbImage,
        names: Sequence[str],
        *,
        scale: int | None = None,
        before_relu: bool = False,
    ) -> dict[str, Float32[np.ndarray, "h w c"]]:
        """Computes the activations of named layers on a whole image.

        Args:
          image: RGB, 0-255.
          names: Any of conv1_1 ... conv5_4, fc6, fc7, fc8.
          scale: The test scale Q in px; None for the mean of the config's.
          before_relu: See `vgg.activations`.

        Raises:
          UserError: The scale is below the net's crop.
          ValueError: The net has no layer of that name.
        """
        pixels = self._rescaled(image, scale)
        values = self.inference.call(
            _activations, pixels[None], names=tuple(names), before_relu=before_relu
        )
        return {name: np.asarray(value[0], np.float32) for name, value in values.items()}

    def digest(self) -> str:
        """Returns the SHA-256 of the parameters' names and values."""
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()

    def _rescaled(self, image: RgbImage, scale: int | None) -> RgbImage:
        scales = evaluation_settings.test_scales(self.config)
        scale = round(sum(scales) / len(scales)) if scale is None else scale
        evaluation_settings.check_scales((scale,), self.model.crop_px)
        return images.rescale(to_pillow(image, 0), scale)


def _activations(
    inference: Inference, images: PaddedImages, *, names: tuple[str, ...], before_relu: bool
) -> dict[str, Float[Array, "b h w c"]]:
    return vgg.activations(
        inference.model,
        inference.params,
        inference.normalise(images),
        names,
        before_relu=before_relu,
    )


def load(
    workdir: str | Path,
    *,
    checkpoint: saved_steps.Which | None = None,
    dtype: DType | None = None,
    pooling: OddEdges | None = None,
) -> TrainedNet:
    """Loads a run's net onto all devices, and turns on the cache of compiled programs.

    Args:
      workdir: The run's folder.
      checkpoint: "last", or "best" for the checkpoint with the least validation error. None, here
        and below, means the `eval` setting of the run's config.
      dtype: The dtype of the arithmetic. With float32, products have the highest precision.
      pooling: See `vgg.VGG`.

    Raises:
      UserError: The workdir has no run or no checkpoint, or a damaged one.
    """
    workdir = files.path(os.fspath(workdir))
    c = run_config.load(workdir)
    if c is None or not saved_steps.has_checkpoint(workdir):
        raise UserError(
            f"There is no checkpoint of a run in {workdir}. Train one: "
            "python -m vgg_jax.main --config=configs/NAME.py --workdir=..."
        )
    compilation_cache.keep(c.data.cache_dir)
    c.dtype = dtype or c.eval.dtype
    mesh = sharding.make_mesh()
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        step = checkpoints.step_of(checkpoint or c.eval.checkpoint)
        facts = checkpoints.restore_run(step).facts
        model = dataclasses.replace(
            from_config.model(c, len(facts.class_names)),
            pooling=pooling or c.eval.pooling,
        )
        params = checkpoints.restore_params(first_params.zeros(model, mesh), step)
    inference = Inference(
        model=model,
        params=params,
        mesh=mesh,
        normalise=Normalise(facts.mean_rgb, net_settings.input_scale(c)),
    )
    return TrainedNet(inference, facts.class_names, config=c, step=step)


def to_pillow(image: np.ndarray, index: int) -> Image.Image:
    """Converts an array that a user gave to a Pillow image.

    Raises:
      UserError: The array is not an `RgbImage`. The message names the image by its index.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise UserError(
            f"Image {index} is {image.dtype} of shape {image.shape}, not uint8 RGB of (h, w, 3)."
        )
    return Image.fromarray(image)
