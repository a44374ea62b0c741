"""One pass over a source: mean RGB (§2.1), sizes, and what in it can't be decoded. Cached."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import zlib
from typing import NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from vgg_jax.data import images, prefetch
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import ScanOptions
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files

Rgb = tuple[float, float, float]

IMAGES_A_MESSAGE = 32  # A worker process sends so many at once.


class Undecodable(NamedTuple):
    """An image that can't be read or decoded: its index, its key and what is wrong with it."""

    index: int
    key: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a pass over a source found.

    Attributes:
      mean_rgb: 0-255, over each decodable image, then over these images: every one weighs the same
        whatever its size, as it does in training. None where no image is decodable.
      class_counts: Decodable images of each class; unlabelled ones are in none.
      undecodable: The other images.
      sizes: Height and width of every image, upright, px; 0 where it is undecodable.
    """

    mean_rgb: Rgb | None
    class_counts: tuple[int, ...]
    undecodable: tuple[Undecodable, ...]
    sizes: Int32[np.ndarray, "n 2"] = dataclasses.field(compare=False)


def scan(source: Source, name: str, options: ScanOptions) -> Scan:
    """Decodes every image once, or takes what an earlier scan of the same index found.

    What was undecodable is tried again each time: where an image was made readable since, or
    repaired without a trace, all are scanned anew.

    Args:
      source: What to scan.
      name: What the progress bar calls the images: "training".
      options: How to scan it.

    Raises:
      UserError: The cache_dir can't be written to.
    """
    path = cache_path(source, options.cache_dir)
    known = _read_cache(path)
    if known and not known.undecodable:
        return known
    found = known and _still(source, known)
    if found is None:
        _make_folder(path.parent)  # Before the pass, which may be long.
        found = _pass(
            source, f"scanning the {name} images", options.num_workers, progress=options.progress
        )
    if found != known:
        _write_cache(found, path)
    return found


def cache_path(source: Source, cache_dir: str) -> pathlib.Path:
    """Returns the file that keeps a source's scan."""
    return pathlib.Path(cache_dir).expanduser() / "scans" / f"{source.contents_key}.json"


def _pass(source: Source, description: str, num_workers: int, *, progress: bool) -> Scan:
    examined = grain.MapDataset.range(len(source)).map(_Examine(source))
    chunks = examined.batch(IMAGES_A_MESSAGE, batch_fn=list)
    total, counts, undecodable = np.zeros(3), np.zeros(len(source.class_names), int), []
    sizes = []
    with (
        contextlib.closing(prefetch.prefetched(chunks, num_workers)) as results,
        tqdm(total=len(source), desc=description, unit=" images", disable=not progress) as bar,
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
    mean_rgb: list[float]  # No array: Grain would put each into shared memory of its own.
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Examine(grain.MapTransform):
    source: Source

    def map(self, element: int) -> _Decodable | Undecodable:
        try:
            example = self.source[element]
            image = images.decode(example.image, example.key)
        except UndecodableError as error:
            return Undecodable(int(element), error.key, error.reason)
        levels = np.reshape(image.histogram(), (3, 256))
        mean = levels @ np.arange(256) / (image.width * image.height)
        return _Decodable(example.label, mean.tolist(), (image.height, image.width))


def _still(source: Source, known: Scan) -> Scan | None:
    indices = np.array([image.index for image in known.undecodable])
    again = _pass(Subset(source, indices), "", num_workers=0, progress=False)
    if again.mean_rgb is not None:
        return None
    # The folder may have moved, and with it the paths.
    return dataclasses.replace(
        known,
        undecodable=tuple(
            image._replace(index=int(indices[image.index])) for image in again.undecodable
        ),
    )


def _make_folder(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UserError(
            f"The cache {folder} can't be written to. Set --config.data.cache_dir to a folder that "
            "can."
        )


def _read_cache(path: pathlib.Path) -> Scan | None:
    try:
        saved = json.loads(path.read_text())
        return Scan(
            mean_rgb=saved["mean_rgb"] and tuple(saved["mean_rgb"]),
            class_counts=tuple(saved["class_counts"]),
            undecodable=tuple(Undecodable(**image) for image in saved["undecodable"]),
            sizes=_unpacked(saved["sizes"]),
        )
    # Absent, cut short by the machine's end, or of another version.
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None


def _write_cache(found: Scan, path: pathlib.Path) -> None:
    saved = vars(found) | {
        "undecodable": [image._asdict() for image in found.undecodable],
        "sizes": _packed(found.sizes),
    }
    files.write_text(path, json.dumps(saved, indent=1) + "\n")


def _packed(sizes: Int32[np.ndarray, "n 2"]) -> str:
    # ImageNet's training images take 2 MB so; as numbers in text they would take 30.
    return base64.b64encode(zlib.compress(sizes.astype("<i4").tobytes())).decode()


def _unpacked(text: str) -> Int32[np.ndarray, "n 2"]:
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, "<i4").astype(np.int32).reshape(-1, 2)
