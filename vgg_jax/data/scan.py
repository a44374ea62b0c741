"""One pass over a source, cached: its mean RGB (§2.1), its sizes and its undecodable images."""

import base64
import contextlib
import dataclasses
import pathlib
import zlib
from typing import NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Int32

from vgg_jax.data import decode_budget, images, prefetch, workers
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import ScanOptions
from vgg_jax.errors import UndecodableError
from vgg_jax.storage import cache_folder, sealed_json
from vgg_jax.system import progress_bar

Rgb = tuple[float, float, float]

IMAGES_A_MESSAGE = 32  # A worker process sends results of this many together.


class Undecodable(NamedTuple):
    """An image that can't be read or decoded: its index, its key and the reason."""

    index: int
    key: str
    reason: str


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


def scan(source: Source, name: str, options: ScanOptions) -> Scan:
    """Decodes every image once, or returns what an earlier scan with the same contents_key found.

    Images that were undecodable are tried again each time. If one of them can be decoded now, for
    example because its permissions have changed, all images are scanned again.

    Args:
      source: What to scan.
      name: The word for the images in the progress bar, for example "training".
      options: How to scan it.

    Raises:
      UserError: The cache_dir can't be written to.
    """
    path = cache_path(source, options.cache_dir)
    known = _read_cache(path, len(source))
    if known and not known.undecodable:
        return known
    found = known and _still(source, known)
    if found is None:
        cache_folder.make(path.parent)  # It may fail, so it comes before the pass, which is long.
        found = _pass(
            source,
            f"scanning the {name} images",
            workers.resolved(options.num_workers, source),
            progress=options.progress,
        )
    if found != known:
        _write_cache(found, path)
    return found


def cache_path(source: Source, cache_dir: str) -> pathlib.Path:
    """Returns the path of the file that caches a source's scan."""
    return cache_folder.path(cache_dir, "scans", f"{source.contents_key}.json")


def _pass(source: Source, description: str, num_workers: int, *, progress: bool) -> Scan:
    examined = grain.MapDataset.range(len(source)).map(_Examine(source))
    chunks = examined.batch(IMAGES_A_MESSAGE, batch_fn=list)
    total, counts, undecodable = np.zeros(3), np.zeros(len(source.class_names), int), []
    sizes = []
    with (
        contextlib.closing(prefetch.prefetched(chunks, num_workers)) as results,
        progress_bar.bar(len(source), "images", description, disable=not progress) as bar,
    ):
        for chunk in results:
            for result in chunk:
                if isinstance(result, Undecodable):
                    undecodable.append(result)
                    sizes.append((0, 0))
                else:
                    total += result.mean_rgb
                    if result.label >= 0:
                        counts[result.label] += 1
                    sizes.append(result.size)
            bar.update(len(chunk))
    num_decodable = len(source) - len(undecodable)
    mean = tuple((total / num_decodable).tolist()) if num_decodable else None
    return Scan(mean, tuple(counts.tolist()), tuple(undecodable), np.array(sizes, np.int32))


class _Decodable(NamedTuple):
    label: int
    mean_rgb: list[float]  # Not arrays: Grain would put each into its own shared memory.
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Examine(grain.MapTransform):
    source: Source

    def map(self, element: int) -> _Decodable | Undecodable:
        try:
            return decode_budget.with_room_kept(lambda: self._examine(int(element)))
        except UndecodableError as error:
            return Undecodable(int(element), error.key, error.reason)

    def _examine(self, index: int) -> _Decodable:
        example = self.source[index]
        image = images.decode(example.image, example.key)
        levels = np.reshape(image.histogram(), (3, 256))
        mean = levels @ np.arange(256) / (image.width * image.height)
        return _Decodable(example.label, mean.tolist(), (image.height, image.width))


def _still(source: Source, known: Scan) -> Scan | None:
    indices = np.array([image.index for image in known.undecodable])
    again = _pass(Subset(source, indices), "", num_workers=0, progress=False)
    if again.mean_rgb is not None:
        return None
    # The new keys are kept: they are paths, and the folder may have moved.
    return dataclasses.replace(
        known,
        undecodable=tuple(
            image._replace(index=int(indices[image.index])) for image in again.undecodable
        ),
    )


def _read_cache(path: pathlib.Path, num_images: int) -> Scan | None:
    try:
        saved = sealed_json.load(path)
        if sealed_json.is_sealed(path):  # Otherwise an earlier version wrote it.
            saved = sealed_json.unseal(saved, path)
        return Scan(
            mean_rgb=saved["mean_rgb"] and tuple(saved["mean_rgb"]),
            class_counts=tuple(saved["class_counts"]),
            undecodable=tuple(Undecodable(**image) for image in saved["undecodable"]),
            sizes=unpacked(saved["sizes"], num_images),
        )
    # The file is absent, damaged or of another version; or a user's source has the same
    # contents_key for another number of images.
    except (OSError, ValueError, LookupError, TypeError, RecursionError, zlib.error):
        return None


def _write_cache(found: Scan, path: pathlib.Path) -> None:
    saved = vars(found) | {
        "undecodable": [image._asdict() for image in found.undecodable],
        "sizes": packed(found.sizes),
    }
    sealed_json.write(path, saved)


def packed(sizes: Int32[np.ndarray, "n 2"]) -> str:
    """Returns the sizes of images as text. `unpacked` is its inverse."""
    # This takes 2 MB for ImageNet's training images. Numbers as text would take 30 MB.
    return base64.b64encode(zlib.compress(sizes.astype("<i4").tobytes())).decode()


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
