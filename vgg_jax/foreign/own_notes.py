"""The notes beside the arrays in safetensors files of this package's own layout.

They are the file's metadata, whose values are texts; numbers and lists are JSON.
"""

import dataclasses
import json
import math
from collections.abc import Mapping

from vgg_jax.errors import UserError
from vgg_jax.foreign.net import Rgb

_FORMAT = {"format": "vgg_jax"}


@dataclasses.dataclass(frozen=True)
class OwnNotes:
    """Facts about a net that its arrays don't show.

    Attributes:
      net: One of `architectures.NETS`.
      crop_px: The side of the training crop.
      mean_rgb: The mean that is subtracted from the pixels, 0-255.
      input_scale: The factor for the pixels after that.
      odd_edges: What pooling does with an odd last row or column: "floor" or "ceil".
      class_names: The classes' names, in the order of the labels.
    """

    net: str
    crop_px: int
    mean_rgb: Rgb
    input_scale: float
    odd_edges: str
    class_names: tuple[str, ...]

    def to_metadata(self) -> dict[str, str]:
        """Returns the notes as a file's metadata."""
        notes = dataclasses.asdict(self)
        return _FORMAT | {name: json.dumps(value) for name, value in notes.items()}


def has(metadata: Mapping[str, str]) -> bool:
    """Returns whether a file's metadata are notes of this package."""
    return metadata.items() >= _FORMAT.items()


def from_metadata(metadata: Mapping[str, str]) -> OwnNotes:
    """Inverts `OwnNotes.to_metadata`.

    Raises:
      UserError: A note is missing or damaged.
    """
    try:
        values = {
            field.name: json.loads(metadata[field.name]) for field in dataclasses.fields(OwnNotes)
        }
        red, green, blue = map(float, values["mean_rgb"])
        notes = OwnNotes(
            net=str(values["net"]),
            crop_px=int(values["crop_px"]),
            mean_rgb=(red, green, blue),
            input_scale=float(values["input_scale"]),
            odd_edges=values["odd_edges"],
            class_names=tuple(map(str, values["class_names"])),
        )
        if not all(map(math.isfinite, (*notes.mean_rgb, notes.input_scale))):
            raise ValueError("a number is not finite")
        if notes.input_scale <= 0 or notes.odd_edges not in ("floor", "ceil"):
            raise ValueError("input_scale or odd_edges is impossible")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"The metadata of these weights, which vgg_jax wrote, are damaged ({error}). Export "
            "the net again."
        ) from error
    return notes
