"""How much memory a training step takes on a device, as arithmetic on a net's layers.

The backward pass is walked through layer by layer, counting what is alive:

- float32 parameters and momentum, all the time;
- the gradients of the layers that the backward pass has passed, and with micro-batches the sum
  that they are added to (a compiler may update a layer at once and keep fewer; between devices they
  are gathered to be sent together);
- in bfloat16 the rounded kernels of the layers that it has yet to pass;
- what layers keep for the backward pass (a convolution its input, a pooling a byte a window: see
  `layers.relu`, `layers.max_pool`), and the gradients of the layer's output and input.

What a compiler adds isn't counted: copies in other layouts, a library's workspace, padding.
JAX isn't needed.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from vgg_jax.nets.architectures import DType, Layer

DTYPES: dict[DType, int] = {"bfloat16": 2, "float32": 4}  # Bytes a value.


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a training step.

    Attributes:
      state: Parameters and momentum.
      gradients: Those that exist at the peak; with micro-batches also the sum of all.
      rounded_kernels: The kernels' copies in bfloat16 that are still needed.
      activations: The batch as bytes, what layers keep, and the values being computed.
      layer: The layer of the backward pass at which the peak is.
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
    """Predicts the memory of `step.make_train_step`'s step at its peak.

    Args:
      net: See `architectures.layers`.
      crop_px: Side of the training crop.
      batch: Images a step on this device.
      dtype: The arithmetic's; parameters are float32.
      micro_batches: Parts of the batch that are computed one after the other.
      remat: See `vgg.VGG`.

    Raises:
      ValueError: The batch isn't above 0, or not a whole number of micro-batches.
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
    # The optimiser's update isn't one of them: conv1_1's backward pass has all it has, and more.
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
    """Yields each layer of the backward pass with the bytes an image that are alive there.

    The forward pass isn't walked: wherever it is, the backward pass has more alive.
    """
    side, below = crop_px, 0
    part: list[tuple[Layer, int]] = []
    for layer in net:
        part.append((layer, side))
        side = layer.output_px(side)
        if remat and layer.kind == "pool":
            # Only a block's input is kept; the backward pass computes the rest again.
            first, first_side = part[0]
            block_input = size * first_side**2 * first.features_in
            # Before bias and ReLU, so it isn't its first convolution's; the image is.
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
        if layer.name != "conv1_1":  # No gradient is passed on to the image.
            # LRN computes in float32.
            gradients += (4 if layer.kind == "lrn" else size) * values
        yield layer, kept + gradients
