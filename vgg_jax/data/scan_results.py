"""What a scan finds, as a whole and after each image."""

import base64
import dataclasses
import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64

from vgg_jax.data.source import Source

Rgb = tuple[float, float, float]


class Undecodable(NamedTuple):
    """An image that can't be read or decoded: its index, its key and the reason."""

    index: int
    key: str
    reason: str


class Decodable(NamedTuple):
    """An image that can be decoded: its label, its own mean RGB, and its height and width in px."""

    label: int
    mean_rgb: list[float]  # Not arrays: Grain would put each into its own shared memory.
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Scan:
    """The results of a pass over a source.

    Attributes:
      mean_rgb: The mean RGB, 0-255, of the decodable images' own means, so that each image has the
        same weight whatever its size, as in training. None if no image is decodable.
      class_counts: The number of decodable images per class; unlabelled images aren't counted.
      undecodable: The images that can't be read or decoded.
      sizes: The height and width of each upright image, in px; 0 for an undecodable image.
    """

    mean_rgb: Rgb | None
    class_counts: tuple[int, ...]
    undecodable: tuple[Undecodable, ...]
    sizes: Int32[np.ndarray, "n 2"] = dataclasses.field(compare=False)


@dataclasses.dataclass
class Tally:
    """What is known after the first `count` images of a source.

    The images are added in their order. So the sum, which is rounded at each of them, has the same
    bits after a pass that was interrupted.

    Attributes:
      count: How many images were added.
      rgb_sum: The sum of the decodable images' own means.
      class_counts: See `Scan`.
      undecodable: See `Scan`.
      sizes: See `Scan`; 0 for images that weren't added yet.
    """

    count: int
    rgb_sum: Float64[np.ndarray, "3"]
    class_counts: Int64[np.ndarray, " classes"]
    undecodable: list[Undecodable]
    sizes: Int32[np.ndarray, "n 2"]

    @classmethod
    def empty(cls, source: Source) -> "Tally":
        """Returns what is known before the first image."""
        counts = np.zeros(len(source.class_names), np.int64)
        return cls(0, np.zeros(3), counts, [], np.zeros((len(source), 2), np.int32))

    def add(self, result: Decodable | Undecodable) -> None:
        """Adds the next image."""
        if isinstance(result, Undecodable):
            self.undecodable.append(result)
        else:
            self.rgb_sum += result.mean_rgb
            if result.label >= 0:
                self.class_counts[result.label] += 1
            self.sizes[self.count] = result.size
        self.count += 1

    def scan(self) -> Scan:
        """Returns the results, once all images were added."""
        num_decodable = self.count - len(self.undecodable)
        mean = tuple((self.rgb_sum / num_decodable).tolist()) if num_decodable else None
        counts = tuple(self.class_counts.tolist())
        return Scan(mean, counts, tuple(self.undecodable), self.sizes)


def packed(sizes: Int32[np.ndarray, "n 2"], level: int = zlib.Z_DEFAULT_COMPRESSION) -> str:
    """Returns the sizes of images as text. `unpacked` is its inverse.

    Args:
      sizes: The sizes.
      level: The level of zlib's compression. Level 1 takes a fifth of the default's time, and 15%
        more text.
    """
    # This takes some 3 MB for ImageNet's training images. Numbers as text would take 30 MB.
    return base64.b64encode(zlib.compress(sizes.astype("<i4").tobytes(), level)).decode()


def unpacked(text: str, num_images: int) -> Int32[np.ndarray, "n 2"]:
    """Returns the sizes of images from the text that `packed` has made.

    Raises:
      ValueError, zlib.error: It is no such text, or of another number of images.
    """
    expected = num_images * 8
    # No more is decompressed, because damaged text may expand to any length.
    data = zlib.decompressobj().decompress(base64.b64decode(text), expected + 1)
    if len(data) != expected:
        raise ValueError(f"These are not the sizes of {num_images:,} images.")
    return np.frombuffer(data, "<i4").astype(np.int32).reshape(-1, 2)
