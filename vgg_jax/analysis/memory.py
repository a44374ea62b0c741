"""The memory that a training step takes on a device, computed from a net's layers.

For each layer of the backward pass, the arrays that are in memory are added up:

- the float32 parameters and momentum, which are always there;
- the parameters' gradients that the backward pass has computed so far, and with micro-batches the
  sum that they are added to (a compiler may update a layer at once and keep fewer; with several
  devices they are gathered to be sent together);
- in bfloat16, the rounded kernels that the backward pass still needs;
- the values that layers keep for the backward pass (a convolution keeps its input, a pooling one
  byte per window: see `layers.biased_relu`, `layers.max_pool`), and the gradients of the layer's
  output and input.

Additions of the compiler are not counted: copies in other layouts, a library's workspace, padding.
This module needs no JAX.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from vgg_jax.nets.architectures import DType, Layer

DTYPES: dict[DType, int] = {"bfloat16": 2, "float32": 4}  # Bytes per value.


@dataclasses.dataclass(frozen=True)
class Memory:
    """The memory of a training step on one device at its peak, in bytes.

    Attributes:
      state: Parameters and momentum.
      gradients: The gradients that exist at the peak; with micro-batches also the sum over the
        micro-batches.
      rounded_kernels: The bfloat16 copies of kernels that are still needed.
      activations: The batch as uint8, the values that layers keep, and the gradients of the
        layer's output and input.
      layer: The layer whose backward pass has the peak.
    """

    state: int
    gradients: int
    rounded_kernels: int
    activations: int
    layer: str

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.state + self.gradients + self.rounded_kernels + self.activations


def training_step(
    net: Sequence[Layer],
    crop_px: int,
    batch: int,
    *,
    dtype: DType = "bfloat16",
    micro_batches: int = 1,
    remat: bool = False,
) -> Memory:
    """Predicts the memory of the training step of `step.make_train_step` at its peak.

    Args:
      net: See `architectures.layers`.
      crop_px: Side of the training crop.
      batch: Images per step on this device.
      dtype: The dtype of the arithmetic; parameters are float32.
      micro_batches: Number of parts of the batch that are computed one after the other.
      remat: See `vgg.VGG`.

    Raises:
      ValueError: The batch isn't above 0, or can't be split into this number of equal parts.
    """
    if batch < 1:
        raise ValueError(f"batch={batch} must be at least 1 image.")
    if micro_batches < 1 or batch % micro_batches:
        raise ValueError(
            f"batch={batch} cannot be split into micro_batches={micro_batches} equal parts."
        )
    parameters = 4 * sum(layer.num_parameters for layer in net)
    pixels = 3 * crop_px**2
    added_up = parameters if micro_batches > 1 else 0
    # The optimiser's update isn't counted: all its arrays, and more, are in memory at conv1_1.
    moments = []
    for layer, bytes_an_image in _walk(net, crop_px, DTYPES[dtype], remat):
        index = net.index(layer)
        passed = 4 * sum(layer.num_parameters for layer in net[index:])
        rounded = sum(layer.num_weights for layer in net[: index + 1] if layer.name != "fc8")
        moments.append(
            Memory(
                state=2 * parameters,
                gradients=passed + added_up,
                rounded_kernels=2 * rounded if dtype == "bfloat16" else 0,
                activations=batch * pixels + batch // micro_batches * bytes_an_image,
                layer=layer.name,
            )
        )
    return max(moments, key=lambda moment: moment.total)


def _walk(
    net: Sequence[Layer], crop_px: int, size: int, remat: bool
) -> Iterator[tuple[Layer, int]]:
    """Yields each layer with the bytes per image that are in memory at its backward pass.

    The forward pass is left out, because at every layer the backward pass has more in memory.
    """
    side, below = crop_px, 0
    part: list[tuple[Layer, int]] = []
    for layer in net:
        part.append((layer, side))
        side = layer.output_px(side)
        if remat and layer.kind == "pool":
            # Only the input of a block is kept; the backward pass computes the rest again.
            first, first_side = part[0]
            block_input = size * first_side**2 * first.features_in
            # It is kept before bias and ReLU, so the first convolution's input is kept too, except
            # for conv1_1's, which is the image itself.
            again = 0 if first.name == "conv1_1" else block_input
            yield from _walk_back(part, below + again, size)
            below += block_input
            part = []
    yield from _walk_back(part, below, size)


def _walk_back(
    part: Sequence[tuple[Layer, int]], below: int, size: int
) -> Iterator[tuple[Layer, int]]:
    kept = below
    for layer, side in part:
        values = side**2 * layer.features_in
        windows = layer.output_px(side) ** 2 * layer.features
        kept += windows if layer.kind == "pool" else size * values
        gradients = size * layer.output_px(side) ** 2 * layer.features
        if layer.name != "conv1_1":  # The image has no gradient.
            # LRN computes in float32.
            gradients += (4 if layer.kind == "lrn" else size) * values
        yield layer, kept + gradients
