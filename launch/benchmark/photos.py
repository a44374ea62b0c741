"""The images of a dense evaluation, decoded and rescaled beforehand."""

import itertools

import numpy as np
from PIL import Image

from vgg_jax.data import images
from vgg_jax.data.decoded import Decoded
from vgg_jax.data.pooled import open_images

# Width and height of photos as ILSVRC has them: 500 x 375 px most often, many others once. Their
# order spreads them, so that few images already have many sizes.
SIZES = (
    *((500, 375), (500, 333), (375, 500), (500, 375), (640, 480), (500, 375), (333, 500)),
    *((500, 375), (400, 300), (500, 334), (500, 375), (500, 500), (375, 500), (500, 375)),
    *((1024, 768), (500, 375), (500, 281), (300, 400), (500, 375), (480, 360), (500, 332)),
    *((500, 375), (320, 240), (334, 500), (500, 375), (500, 400), (600, 450), (500, 357)),
    *((375, 500), (500, 375), (800, 533), (259, 194)),
)


def photos(data: str | None, count: int | None, scale: int) -> list[Image.Image]:
    """Returns images whose shorter side is `scale` px.

    Args:
      data: A folder of class folders, from which images are drawn at random; None for smooth random
        pixels of the sizes above.
      count: How many images; None for all of the folder.
      scale: The test scale Q, in px.
    """
    rng = np.random.default_rng(0)
    if data is None:
        found = (_smooth(rng, size) for size in itertools.islice(itertools.cycle(SIZES), count))
    else:
        source = open_images(data)
        found = map(Decoded(source), rng.permutation(len(source))[:count].tolist())
    return [Image.fromarray(images.rescale(image, scale)) for image in found]


def _smooth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
