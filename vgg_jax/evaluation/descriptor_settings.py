"""The settings of descriptors of images, as plain values. Needs no JAX."""

import dataclasses
from typing import Literal

Combine = Literal["stack", "average"]


@dataclasses.dataclass(frozen=True)
class DescriptorSettings:
    """How descriptors are computed.

    Attributes:
      scales: The scales Q that images are rescaled to, in px; at least one.
      layer: The name of a feature of `VGG.features`, except for prob.
      combine: Whether the descriptors of several Q are concatenated ("stack", as in the paper for
        Caltech) or averaged ("average", as for VOC).
    """

    scales: tuple[int, ...]
    layer: str = "relu7"
    combine: Combine = "stack"
