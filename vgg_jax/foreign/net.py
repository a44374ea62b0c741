"""The net of a weight file, in the names and layouts of this package."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32

from vgg_jax.data.settings import ILSVRC_MEAN_RGB
from vgg_jax.nets.settings import OddEdges

Rgb = tuple[float, float, float]
# {"kernel": HWIO, "bias": O}, as in `vgg.init_params`; FC layers are convolutions.
LayerArrays = dict[str, Float32[np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The input that a net expects: (pixels - mean) / std, with pixels of 0-255.

    Attributes:
      bgr: Whether the input's channels are blue, green, red.
      mean_rgb: The mean that is subtracted, in the order red, green, blue.
      std_rgb: The divisor, in the same order.
    """

    bgr: bool
    mean_rgb: Rgb
    std_rgb: Rgb


CAFFE = Preprocessing(bgr=True, mean_rgb=ILSVRC_MEAN_RGB, std_rgb=(1.0, 1.0, 1.0))
TORCHVISION = Preprocessing(
    bgr=False,
    mean_rgb=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std_rgb=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)


@dataclasses.dataclass(frozen=True)
class ForeignLayer:
    """A layer of a weight file.

    Attributes:
      kernel_shape: Height, width, inputs and outputs.
      load: Reads the layer's kernel and bias, in the layout of this package.
    """

    kernel_shape: tuple[int, int, int, int]
    load: Callable[[], LayerArrays]


@dataclasses.dataclass(frozen=True)
class ForeignNet:
    """A net as a weight file has it.

    Attributes:
      layout: The name of the layout, such as "torchvision", for messages.
      layers: The layers by this package's names, conv1_1 to fc8, from the first to the last. A file
        without FC layers has convolutions only.
      preprocessing: The input that conv1_1 expects; None if names can't tell.
      preprocessing_is_usual: Whether nets with these names usually expect `preprocessing`, but not
        always. Otherwise the file settles it.
      odd_edges: What the net's pooling does with an odd last row or column.
      batch_norm: Whether batch norm was folded into the layers.
      net: The net's name if the file says it, which is one of `architectures.NETS`; otherwise None.
      class_names: The classes' names if the file has them, in the order of the labels; otherwise
        empty.
    """

    layout: str
    layers: Mapping[str, ForeignLayer]
    preprocessing: Preprocessing | None
    odd_edges: OddEdges
    preprocessing_is_usual: bool = False
    batch_norm: bool = False
    net: str | None = None
    class_names: tuple[str, ...] = ()
