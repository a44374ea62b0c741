"""The settings of the net and the training step that a table describes."""

import dataclasses

from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import DType, Layer


@dataclasses.dataclass(frozen=True)
class NetSpec:
    """The settings of a net.

    Attributes:
      net: One of `architectures.NETS`; or "all", for a table that compares them.
      num_classes: Outputs of FC8.
      width: Factor on the number of output channels of every layer except FC8.
      crop_px: Side of the training crop, which FC6's kernel covers.
    """

    net: str = "all"
    num_classes: int = 1000
    width: float = 1.0
    crop_px: int = 224

    def layers(self) -> tuple[Layer, ...]:
        """Returns the net's layers.

        Raises:
          ValueError: See `architectures.layers`.
        """
        return architectures.layers(
            self.net, num_classes=self.num_classes, width=self.width, crop_px=self.crop_px
        )


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """The settings of a training step. For None, a table chooses a value or shows several.

    Attributes:
      batch: Images per step.
      dtype: The dtype of the arithmetic; parameters are float32.
      micro_batches: Number of parts of the batch that are computed one after the other.
      remat: Whether the backward pass computes blocks again: see `vgg.VGG`.
    """

    batch: int | None = None
    dtype: DType | None = None
    micro_batches: int | None = None
    remat: bool | None = None
