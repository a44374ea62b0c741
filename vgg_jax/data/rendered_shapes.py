"""The embedded data set: rendered shapes, so that everything runs without a download.

There are ten classes of shapes. Their size, place, rotation, colour and texture vary widely, and
clutter surrounds them. The images have several hundred sizes and aspect ratios. Each image depends
only on (split, number).
"""

import colorsys
import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8
from PIL import Image

CLASS_NAMES = (
    "disc", "ring", "square", "triangle", "star", "cross", "crescent", "half_disc", "bar", "heart",
)  # fmt: skip
SPLITS = {"train": 2000, "validation": 500}
SIDES_PX = range(80, 169, 4)
MAX_ASPECT = 2.0

Plane = Float[np.ndarray, "h w"]


class Shapes(tfds.core.GeneratorBasedBuilder):
    """The data set as a TFDS builder. It is prepared in seconds, without TensorFlow."""

    name = "vgg_jax_shapes"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Rendered shapes among clutter, at widely varying scale.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        for number in range(SPLITS[split]):
            image, label = render(split, number)
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=90)
            file.seek(0)
            name = f"{split}_{number:05d}.jpg"
            yield name, {"image": file, "label": label, "file_name": name}


def render(split: str, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
    """Draws image `number` of a split, and returns it with its label.

    The classes take turns, so that each split has the same number of images of each class.
    """
    rng = np.random.Generator(np.random.Philox(key=[list(SPLITS).index(split), number]))
    label = number % len(CLASS_NAMES)
    width, height = rng.choice(SIDES_PX, 2)
    width = int(np.ceil(np.clip(width, height / MAX_ASPECT, height * MAX_ASPECT) / 4)) * 4
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)

    # As in photographs, colour suggests the class but doesn't prove it: neighbouring hues overlap.
    figure = _colour(rng, hue=rng.normal(label / len(CLASS_NAMES), 0.05), saturation=(0.5, 1.0))
    ground = _colour(rng, hue=rng.random(), saturation=(0.0, 0.4))
    image = ground + _ripples(rng, x, y)[..., None] * rng.normal(0, 18, 3).astype(np.float32)
    for _ in range(rng.integers(4, 10)):
        image = _paint(image, _clutter(rng, x, y), ground + rng.normal(0, 45, 3))
    # The size is log-uniform, from three to nine tenths of the shorter side. The place has a
    # triangular distribution, because the object of a photograph is seldom at its edge.
    radius = min(width, height) / 2 * 0.3 * (0.9 / 0.3) ** rng.random()
    centre_x, centre_y = (
        rng.triangular(radius, side / 2, side - radius) for side in (width, height)
    )
    u, v = _turned(x - centre_x, y - centre_y, rng.uniform(0, 2 * np.pi))
    distance = _distance(CLASS_NAMES[label], u / radius, v / radius) * radius
    texture = _ripples(rng, x, y)[..., None] * rng.normal(0, 15, 3).astype(np.float32)
    image = _paint(image, distance, figure + texture)
    image = image + np.float32(rng.uniform(2, 14)) * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), label


def _colour(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float]
) -> Float[np.ndarray, " 3"]:
    rgb = colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(0.4, 1.0))
    return 255 * np.array(rgb, np.float32)


def _turned(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _ripples(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    u, _ = _turned(x, y, rng.uniform(0, 2 * np.pi))
    return np.sin(u * (2 * np.pi / rng.uniform(6, 120)) + rng.uniform(0, 2 * np.pi))


def _clutter(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Returns the signed distance in px to a thin stroke at a random place in the image."""
    u, v = _turned(
        x - rng.uniform(0, x.shape[1]), y - rng.uniform(0, x.shape[0]), rng.uniform(0, 2 * np.pi)
    )
    return _box(u, v, rng.uniform(3, 40), rng.uniform(0.5, 2.5))


def _paint(image: np.ndarray, distance: Plane, colour: np.ndarray) -> np.ndarray:
    """Paints over the part where the distance in px is negative, with an antialiased edge."""
    alpha = np.clip(0.5 - distance, 0, 1)[..., None]
    return image + alpha * (colour.astype(np.float32) - image)


def _box(u: Plane, v: Plane, half_width: float, half_height: float) -> Plane:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _distance(name: str, u: Plane, v: Plane) -> Plane:
    """Returns a signed distance, or a bound on it, to a shape in the unit disc; negative inside."""
    r = np.hypot(u, v)
    match name:
        case "disc":
            return r - 0.9
        case "ring":
            return np.abs(r - 0.75) - 0.2
        case "square":
            return _box(u, v, 0.7, 0.7)
        case "triangle":
            return np.maximum(np.maximum(-v, 0.866 * u + 0.5 * v), -0.866 * u + 0.5 * v) - 0.5
        case "star":
            sector = 2 * np.pi / 5
            angle = np.abs((np.arctan2(u, v) + sector / 2) % sector - sector / 2)
            return 0.75 * (r * np.cos(angle - 1.0) - 0.48)
        case "cross":
            return np.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95))
        case "crescent":
            return np.maximum(r - 0.95, 0.75 - np.hypot(u - 0.45, v))
        case "half_disc":
            return np.maximum(r - 0.95, v)
        case "bar":
            return _box(u, v, 0.95, 0.25)
        case "heart":
            left, right = np.hypot(u + 0.38, v + 0.3), np.hypot(u - 0.38, v + 0.3)
            tip = np.maximum(np.abs(u) * 0.74 + v * 0.68 - 0.58, -v)
            return np.minimum(np.minimum(left, right) - 0.5, tip)
    raise ValueError(f"No shape is called {name!r}.")
