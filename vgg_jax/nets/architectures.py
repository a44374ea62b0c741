"""Table 1 of the paper as data, and the arithmetic that follows from it.

Nothing here needs JAX: a net is a tuple of `Layer`s, from which the model is built and from
which `vgg_jax.describe` computes sizes, weights, multiply-adds and receptive fields.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from vgg_jax.errors import UserError

DType = Literal["bfloat16", "float32"]  # The dtype of a net's arithmetic.

BLOCK_WIDTHS = (64, 128, 256, 512, 512)
FC_WIDTHS = (4096, 4096)
# The features that need FC layers, which an imported net may lack.
FC_FEATURES = ("fc6", "relu6", "fc7", "relu7", "fc8", "prob")

# The sides of each block's kernels in px (Table 1). B-5x5 is §4.1's shallow net: B with each pair
# of 3x3 convolutions replaced by one 5x5.
BLOCKS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "B-5x5": ((5,), (5,), (5,), (5,), (5,)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
NETS = tuple(BLOCKS)
NETS_WITH_LRN = ("A-LRN",)

# The millions of parameters of each net (Table 2). The paper gives no figure for B-5x5.
TABLE_2_MILLIONS = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}

# A deeper net starts from these layers of a trained A (§3.1): A's first four convolutions, by their
# names in A, and its three FC layers. B-5x5's convolutions have other shapes, so it takes only the
# FC layers.
PREINITIALISED = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")

CELL_PX = 2 ** len(BLOCK_WIDTHS)  # Five poolings halve the sides: 32 px per cell of pool5.


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of Table 1.

    Attributes:
      name: The usual name, for example conv3_1, norm1, pool3 or fc6.
      kind: A convolution ("conv") pads its input so that the size stays the same. A fully
        connected layer ("fc") is a convolution without padding (§3.2). A pooling ("pool") halves
        the size, rounding down. LRN ("lrn") leaves it as it is.
      kernel_px: Side of the kernel in cells of the layer's input; 0 for LRN.
      features_in: Channels in.
      features: Channels out.
    """

    name: str
    kind: Literal["conv", "lrn", "pool", "fc"]
    kernel_px: int
    features_in: int
    features: int

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names that the authors' release gives to this layer's values.

        The first is the layer's own name. A convolution or an FC layer has another one for the
        values after ReLU (conv3_1, relu3_1), and FC8 one for the probabilities (fc8, prob).
        """
        if self.name == "fc8":
            return ("fc8", "prob")
        if self.kind in ("conv", "fc"):
            return (self.name, self.name.replace(self.kind, "relu"))
        return (self.name,)

    @property
    def num_weights(self) -> int:
        """The number of kernel values, without the biases."""
        if self.kind in ("conv", "fc"):
            return self.kernel_px**2 * self.features_in * self.features
        return 0

    @property
    def num_parameters(self) -> int:
        """The number of kernel values and biases."""
        return self.num_weights + (self.features if self.num_weights else 0)

    def output_px(self, input_px: int) -> int:
        """Returns the side of the output, in cells, for an input of the given side."""
        if self.kind == "pool":
            return input_px // 2
        if self.kind == "fc":
            return input_px - self.kernel_px + 1
        return input_px


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a layer on one square image.

    Attributes:
      layer: The layer.
      output_px: Side of its output, in cells.
      values: Number of output values.
      multiply_adds: Number of multiply-adds of the kernel with the input. Biases, LRN and pooling
        are not counted.
      receptive_field_px: Side of the part of the image that one output value sees.
    """

    layer: Layer
    output_px: int
    values: int
    multiply_adds: int
    receptive_field_px: int


def layers(
    net: str, *, num_classes: int = 1000, width: float = 1.0, crop_px: int = 224
) -> tuple[Layer, ...]:
    """Lists a net's layers from input to output (Table 1).

    Args:
      net: One of `NETS`.
      num_classes: Outputs of FC8.
      width: Factor on the number of output channels of every layer except FC8.
      crop_px: Side of the training crop. FC6 covers the last pooling's output, crop_px / 32 cells.

    Raises:
      ValueError: The net is unknown, the crop is not a whole number of 32 px cells, or the width
        or the number of classes is not above 0.
    """
    if net not in BLOCKS:
        raise ValueError(f"Unknown net {net!r}. Choose one of {', '.join(NETS)}.")
    if not 0 < width < math.inf:
        raise ValueError(f"width={width} must be a finite number above 0.")
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} must be at least 1.")
    if crop_px < CELL_PX or crop_px % CELL_PX:
        raise ValueError(
            f"crop_px={crop_px} is not a whole number of the net's {CELL_PX} px cells. "
            f"Choose a multiple of {CELL_PX}, such as 64, 96 or 224 (the paper's)."
        )

    def scaled(features: int) -> int:
        return max(1, round(features * width))

    result = []
    features = 3
    for block, (kernels, block_width) in enumerate(zip(BLOCKS[net], BLOCK_WIDTHS, strict=True), 1):
        for index, kernel_px in enumerate(kernels, 1):
            result.append(
                Layer(f"conv{block}_{index}", "conv", kernel_px, features, scaled(block_width))
            )
            features = scaled(block_width)
        if block == 1 and net in NETS_WITH_LRN:
            result.append(Layer("norm1", "lrn", 0, features, features))
        result.append(Layer(f"pool{block}", "pool", 2, features, features))
    kernel_px = crop_px // CELL_PX
    for index, fc_width in enumerate((*map(scaled, FC_WIDTHS), num_classes), 6):
        result.append(Layer(f"fc{index}", "fc", kernel_px, features, fc_width))
        features, kernel_px = fc_width, 1
    return tuple(result)


def same_width(net: str, one: float, other: float) -> bool:
    """Returns whether a net's layers have the same numbers of channels at two widths.

    They are whole numbers, so that many widths give the same ones.
    """
    return layers(net, width=one) == layers(net, width=other)


def last_of_blocks(net: Sequence[Layer]) -> dict[str, str]:
    """Returns the last layer after ReLU of each block of convolutions: {"1": "relu1_1", ...}."""
    return {
        layer.name[len("conv")]: layer.name.replace("conv", "relu")
        for layer in net
        if layer.kind == "conv"
    }


def up_to(net: Sequence[Layer], names: Sequence[str]) -> Sequence[Layer]:
    """Returns a net's first layers, up to the last one that has a feature of these names.

    Args:
      net: The layers of the whole net.
      names: Any of the layers' `feature_names`.

    Raises:
      UserError: The net has no feature of a given name, or the names are one string.
    """
    if isinstance(names, str):
        raise UserError(f"The names of features are a list: [{names!r}], not {names!r}.")
    places = {name: place for place, layer in enumerate(net) for name in layer.feature_names}
    for name in names:
        if name not in places:
            raise UserError(f"The net has no {name!r}. It has {', '.join(places)}.")
    return net[: max((places[name] + 1 for name in names), default=0)]


def num_parameters(net: Sequence[Layer]) -> int:
    """Counts the kernel values and biases of a net."""
    return sum(layer.num_parameters for layer in net)


def model_parallel_choices(net: Sequence[Layer], num_devices: int) -> list[int]:
    """Lists the numbers of devices that can share FC6's and FC7's outputs evenly.

    Each of them divides `num_devices`, so that the mesh has equal rows.
    """
    widths = [layer.features for layer in net if layer.name in ("fc6", "fc7")]
    common = math.gcd(num_devices, *widths)
    return [number for number in range(1, common + 1) if common % number == 0]


def costs(net: Sequence[Layer], image_px: int) -> tuple[Cost, ...]:
    """Computes every layer's cost on one image_px x image_px image.

    Raises:
      ValueError: The image is smaller than the crop that FC6 was made for.
    """
    result = []
    side, field_px, stride_px = image_px, 1, 1
    for layer in net:
        side = layer.output_px(side)
        if side < 1:
            raise ValueError(
                f"A {image_px} px image is too small: nothing is left of it at {layer.name}."
            )
        field_px += max(layer.kernel_px - 1, 0) * stride_px
        if layer.kind == "pool":
            stride_px *= 2
        result.append(
            Cost(
                layer=layer,
                output_px=side,
                values=side**2 * layer.features,
                multiply_adds=side**2 * layer.num_weights,
                receptive_field_px=field_px,
            )
        )
    return tuple(result)
