"""A trained net, from its workdir: posteriors, class score maps and activations, in NumPy."""

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from vgg_jax.data import images
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.inference import Pass
from vgg_jax.nets import from_config, pixels, sharding
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.architectures import CELL_PX
from vgg_jax.nets.vgg import VGG, Params, Pooling, activations
from vgg_jax.runs import first_params, run_config, saved_steps
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import compilation_cache

RgbImage = UInt8[np.ndarray, "_ _ 3"]
Method = Literal["dense", "multicrop", "both"]


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """A net with its parameters and all that its images and classes need.

    Attributes:
      model: The net.
      params: Its parameters, on every device of the mesh.
      class_names: By class.
      mean_rgb: 0-255, to subtract.
      input_scale: See `pixels.normalise`.
      config: Of the run, with the dtype of this net.
      step: Of the checkpoint.
      mesh: The devices.
      programs: What was compiled of passes, by method and shapes.
    """

    model: VGG
    params: Params
    class_names: tuple[str, ...]
    mean_rgb: tuple[float, float, float]
    input_scale: float
    config: ConfigDict
    step: int
    mesh: jax.sharding.Mesh
    programs: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def posteriors(
        self,
        images: Sequence[RgbImage],
        *,
        method: Method = "dense",
        scales: Sequence[int] = (),
        batch_px: int = 0,
    ) -> Float32[np.ndarray, "n c"]:
        """Classifies images of any sizes as the paper tests nets (§3.2).

        Args:
          images: RGB, 0-255.
          method: "dense", "multicrop", or the average of "both".
          scales: Q, px; the posteriors of several are averaged. Empty for the config's.
          batch_px: See `inference.Pass`.

        Returns:
          Of each image the probabilities of the classes.

        Raises:
          UserError: A scale is below the net's crop, an image is none, or there is no such method.
        """
        opened = [to_pillow(image, index) for index, image in enumerate(images)]
        sizes = np.array([(image.height, image.width) for image in opened], np.int32)
        return self.posteriors_of(
            opened.__getitem__,
            sizes.reshape(-1, 2),
            method=method,
            scales=scales,
            batch_px=batch_px,
        )

    def posteriors_of(
        self,
        load_image: Callable[[int], Image.Image],
        sizes: Int32[np.ndarray, "n 2"],
        *,
        method: Method = "dense",
        scales: Sequence[int] = (),
        batch_px: int = 0,
        progress: bool = False,
    ) -> Float32[np.ndarray, "n c"]:
        """As `posteriors`, of images that needn't all be in memory.

        Args:
          load_image: From an image's index to the image, RGB; called from several threads.
          sizes: Height and width of each image, px.
          method, scales, batch_px: See `posteriors`.
          progress: Whether to show a progress bar.
        """
        scales = tuple(scales) or evaluation_settings.test_scales(self.config)
        evaluation_settings.check_scales(scales, self.model.crop_px)
        if method not in evaluation_settings.METHODS:
            raise UserError(
                f"method={method!r} must be one of {', '.join(evaluation_settings.METHODS)}."
            )
        total = np.zeros((len(sizes), len(self.class_names)))
        passes = [(one, scale) for one in evaluation_settings.METHODS[method] for scale in scales]
        with tqdm(total=len(passes) * len(sizes), unit=" images", disable=not progress) as bar:
            for one, scale in passes:
                single = Pass(self, load_image, sizes, method=one, scale=scale, batch_px=batch_px)
                for indices, values in single.run():
                    total[indices] += values
                    bar.update(len(indices))
        return (total / len(passes)).astype(np.float32)

    def score_map(
        self, image: RgbImage, *, scale: int | None = None, stride_px: int = 32
    ) -> Float32[np.ndarray, "h w c"]:
        """Computes the class score map of a whole image (§3.2).

        Cell (i, j) is of the window of crop_px that begins (i, j) * stride_px from the corner of
        the rescaled image. Ceil pooling's cells of windows that leave the image are left out.

        Args:
          image: RGB, 0-255.
          scale: Q, px; None for the mean of the config's.
          stride_px: 32 as in the paper, or 16, 8, 4, 2 or 1: the net is then applied to the image
            without its first rows and columns too, and the maps are interleaved.

        Returns:
          Unnormalised class scores.

        Raises:
          UserError: The scale is below the net's crop, or the stride none of these.
        """
        if stride_px not in (32, 16, 8, 4, 2, 1):
            raise UserError(f"stride_px={stride_px} must be 32, 16, 8, 4, 2 or 1.")
        pixels = self._rescaled(image, scale)
        size = np.array(pixels.shape[:2])
        # Padded, so that images of about one size share a program.
        pixels = np.pad(pixels, [*((0, -n % CELL_PX) for n in size), (0, 0)])
        offsets = range(0, 32, stride_px)
        crop_px = self.model.crop_px
        result = np.zeros((*((size - crop_px) // stride_px + 1), len(self.class_names)), np.float32)
        for top in offsets:
            for left in offsets:
                shifted = np.roll(pixels, (-top, -left), axis=(0, 1))
                left_px = size - (top, left)
                if left_px.min() < crop_px:
                    continue
                sizes = left_px[None].astype(np.int32)
                with jax.default_matmul_precision(self.precision):
                    (scores,) = np.asarray(self._score_maps(self.params, shifted[None], sizes))
                rows, columns = self.model.score_cells(left_px)
                place = result[top // stride_px :: len(offsets), left // stride_px :: len(offsets)]
                # Ceil pooling can have a cell more, whose window leaves the image.
                rows, columns = min(rows, place.shape[0]), min(columns, place.shape[1])
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
          scale: Q, px; None for the mean of the config's.
          before_relu: See `vgg.activations`.

        Raises:
          UserError: The scale is below the net's crop.
          ValueError: The net has no layer of that name.
        """
        pixels = self._rescaled(image, scale)
        with jax.default_matmul_precision(self.precision):
            values = self._activations(self.params, pixels[None], tuple(names), before_relu)
        return {name: np.asarray(value[0], np.float32) for name, value in values.items()}

    @property
    def precision(self) -> str:
        """Of products: devices otherwise round float32 to fewer bits."""
        return "highest" if self.model.dtype == jnp.float32 else "default"

    def normalise(self, images: UInt8[jax.Array, "b h w 3"]) -> Float[jax.Array, "b h w 3"]:
        """See `pixels.normalise`."""
        return pixels.normalise(images, np.asarray(self.mean_rgb, np.float32), self.input_scale)

    @functools.cached_property
    def _score_maps(self) -> Callable[..., jax.Array]:
        return jax.jit(
            lambda params, images, sizes: methods.score_maps(
                self.model, params, images, sizes, self.normalise
            )
        )

    @functools.cached_property
    def _activations(self) -> Callable[..., Mapping[str, jax.Array]]:
        return jax.jit(
            lambda params, images, names, before_relu: activations(
                self.model, params, self.normalise(images), names, before_relu=before_relu
            ),
            static_argnums=(2, 3),
        )

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


def load(
    workdir: str | Path,
    *,
    checkpoint: Literal["last", "best"] | None = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
    pooling: Pooling | None = None,
) -> TrainedNet:
    """Loads a run's net onto all devices. What it compiles is kept: see `compilation_cache.keep`.

    Args:
      workdir: Of the run.
      checkpoint: The last, or the one with the least validation error. None, here and below, for
        what the run's config says of its evaluation.
      dtype: Of the arithmetic; float32 is at highest precision.
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
    return TrainedNet(
        model=model,
        params=params,
        class_names=facts.class_names,
        mean_rgb=facts.mean_rgb,
        input_scale=net_settings.input_scale(c),
        config=c,
        step=step,
        mesh=mesh,
    )


def to_pillow(image: np.ndarray, index: int) -> Image.Image:
    """Takes an RgbImage from outside.

    Raises:
      UserError: It is another array; the message calls it by the index.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise UserError(
            f"Image {index} is {image.dtype} of shape {image.shape}, not uint8 RGB of (h, w, 3)."
        )
    return Image.fromarray(image)
