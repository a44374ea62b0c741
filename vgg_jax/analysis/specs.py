"""The net and the training step that tables are about."""

import dataclasses

from vgg_jax.analysis.memory import DType
from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Layer


@dataclasses.dataclass(frozen=True)
class NetSpec:
    """A net, as a config may have it.

    Attributes:
      net: One of `architectures.NETS`; or "all", where a table compares them.
      num_classes: Outputs of FC8.
      width: Multiplies every number of channels but the input's and FC8's.
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
    """A training step; None leaves a value to the table, which may show several.

    Attributes:
      batch: Images of a step.
      dtype: The arithmetic's; parameters are float32.
      micro_batches: Parts of the batch that are computed one after the other.
      remat: Whether blocks are computed again on the backward pass: see `vgg.VGG`.
    """

    batch: int | None = None
    dtype: DType | None = None
    micro_batches: int | None = None
    remat: bool | None = None
