"""Decodes a source's images by index."""

import dataclasses

from PIL import Image

from vgg_jax.data import images
from vgg_jax.data.source import Source


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A function that returns the decoded image of an index."""

    source: Source

    def __call__(self, index: int) -> Image.Image:
        """Decodes an image."""
        example = self.source[index]
        return images.decode(example.image, example.key)

    def name(self, index: int) -> str:
        """Returns an image's name for messages."""
        return self.source.name(index)
