"""The options of an export."""

import dataclasses
from typing import Literal

Layout = Literal["ours", "torchvision", "timm"]
Output = Literal["map", "probabilities"]

# The feature of the net that each output is: see `TrainedNet.features`.
FEATURES = {"map": "fc8", "probabilities": "prob"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The user's choices for an exported file. Each is None where the user chose nothing.

    Attributes:
      layout: The names and layouts of the arrays of a .safetensors file. None means "ours".
      output: What an exported program computes: the class score map, or the probabilities of the
        map's average. None means "map".
    """

    layout: Layout | None = None
    output: Output | None = None

    @property
    def feature(self) -> str:
        """The net's feature that an exported program computes: fc8 or prob."""
        return FEATURES[self.output or "map"]
