"""The net and the recipe that both sides of a comparison compute with, and their random inputs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vgg_jax import base_config
from vgg_jax.data.settings import ILSVRC_MEAN_RGB
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import DType, Layer
from vgg_jax.nets.settings import UNIT_VARIANCE_SCALE

_RECIPE = base_config.get_config()


@dataclasses.dataclass(frozen=True)
class Case:
    """A net with its recipe. It is passed to the sides as JSON.

    Attributes:
      net, width, crop_px, num_classes: See `vgg.VGG`.
      dtype: The dtype of the arithmetic. Parameters are float32.
      batch: Images per step.
      dropout, colour_shift, momentum, l2_penalty: See `base_config`.
      learning_rate: Small, so that the loss of random images stays finite.
      mean_rgb, input_scale: See `pixels.Normalise`.
    """

    net: str
    dtype: DType
    batch: int
    width: float = 1.0
    crop_px: int = 224
    num_classes: int = 1000
    dropout: float = _RECIPE.dropout
    colour_shift: float = _RECIPE.colour_shift
    momentum: float = _RECIPE.momentum
    l2_penalty: float = _RECIPE.l2_penalty
    learning_rate: float = 1e-4
    mean_rgb: Sequence[float] = ILSVRC_MEAN_RGB
    input_scale: float = UNIT_VARIANCE_SCALE

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The rows of Table 1 that make up the net."""
        return architectures.layers(
            self.net, num_classes=self.num_classes, width=self.width, crop_px=self.crop_px
        )

    def params(self) -> dict[str, dict[str, np.ndarray]]:
        """Draws parameters with He's initialisation: {layer: {"kernel": HWIO, "bias": O}}."""
        rng = np.random.default_rng(0)
        drawn = {}
        for layer in self.layers:
            if layer.num_weights:
                shape = (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features)
                kernel = rng.standard_normal(shape, np.float32)
                kernel *= np.float32((2 / (layer.num_weights / layer.features)) ** 0.5)
                drawn[layer.name] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
        return drawn

    def random_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws uint8 RGB images (b, h, w, 3) and int32 labels (b,)."""
        rng = np.random.default_rng(1)
        images = rng.integers(0, 256, (self.batch, self.crop_px, self.crop_px, 3), np.uint8)
        return images, rng.integers(0, self.num_classes, self.batch, np.int32)
