"""The arrays of a weight file, under the names that the file has for them."""

import abc
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np


class Tensors(abc.ABC):
    """The arrays of a file, which are read one by one so that few are in memory at once.

    Attributes:
      shapes: The shape of each array, by its name, in the order of the file.
      metadata: The notes of a safetensors file, or those of the format's reader; or empty.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str] = MappingProxyType({})

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Reads an array; float16, bfloat16 and float64 become float32.

        Raises:
          UserError: The file is cut short or damaged there.
        """
