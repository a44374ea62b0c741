"""Safetensors files in the names of this package, torchvision or timm.

`vgg_jax.foreign.formats.safetensors` describes the format and reads it.
"""

import json
import pathlib
import struct
from collections.abc import Mapping

import numpy as np

from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export import foreign_input
from vgg_jax.export.format import Format
from vgg_jax.export.layouts import ours, torch_names
from vgg_jax.export.options import Options

_OF_TORCH = ("torchvision", "timm")  # The layouts that `torch_names` writes.
_ALIGNED = 8  # The arrays begin at a multiple of so many bytes, as in files of safetensors itself.


def refuse(net: TrainedNet, options: Options) -> None:
    """Checks that the layout has names for the net.

    Raises:
      UserError: It hasn't, or its nets have another size or subtract another mean.
    """
    if options.layout in _OF_TORCH:
        torch_names.refuse(net, options.layout)


def write(net: TrainedNet, path: pathlib.Path, options: Options) -> None:
    """Writes the arrays of a net in the layout that the options name."""
    if options.layout in _OF_TORCH:
        # transformers and others read no file without this format.
        save(path, torch_names.arrays(net, options.layout), {"format": "pt"})
    else:
        save(path, ours.arrays(net), ours.metadata(net))


def save(path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes float32 arrays of any memory order, and copies one at a time.

    Args:
      path: The file.
      arrays: The arrays by their names.
      metadata: The file's notes.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, "<f4").data)


def note(net: TrainedNet, options: Options) -> str:
    """Says if the net has ceil pooling and the layout can't."""
    if options.layout in _OF_TORCH:
        return foreign_input.ceil_note(net, f"{options.layout}'s")
    return ""


FORMAT = Format(".safetensors", refuse, write, note, options=("layout",))
