"""One pass over a source: mean RGB (§2.1), sizes, and what in it can't be decoded. Cached."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from vgg_jax.data import images, prefetch
from vgg_jax.data.source import Source, Subset
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files

Rgb = tuple[float, float, float]

IMAGES_A_MESSAGE = 32  # From a worker process.
NUM_NAMED = 5  # Of each split, in messages; the file of the scan has all.


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
      sizes: Height and width of every image, upright, px; 0 of what is undecodable.
    """

    mean_rgb: Rgb | None
    class_counts: tuple[int, ...]
    undecodable: tuple[Undecodable, ...]
    sizes: Int32[np.ndarray, "n 2"] = dataclasses.field(compare=False)


class Images(NamedTuple):
    """A source of decodable images alone, and the height and width of each, px."""

    source: Source
    sizes: Int32[np.ndarray, "n 2"]


class Checked(NamedTuple):
    """What training takes: only decodable images, and the mean RGB of those to train on."""

    train_source: Source
    val: Images
    mean_rgb: Rgb


def check(
    train_source: Source,
    val_source: Source,
    *,
    undecodable: str,
    cache_dir: str,
    num_workers: int = 0,
    progress: bool = True,
    once: Callable[[Callable[[], Any]], Any] = lambda function: function(),
) -> Checked:
    """Scans both splits, and refuses or leaves out what can't be decoded.

    Args:
      train_source, val_source: The splits.
      undecodable: "refuse" or "leave_out".
      cache_dir: See `scan`.
      num_workers: See `scan`.
      progress: See `scan`.
      once: Calls what takes long, where several processes check the same splits: see
        `processes.from_first`.

    Raises:
      UserError: Images can't be decoded, and the choice is "refuse", or what remains is no split
        to train or validate on, or some have no label. The message names them.
    """
    splits = {"training": train_source, "validation": val_source}

    def scanned() -> dict[str, Scan]:
        scans = _scans(splits, undecodable, cache_dir, num_workers, progress)
        _refuse_untrainable(train_source, scans, cache_dir)
        _tell(splits, scans, cache_dir)
        return scans

    scans = once(scanned)
    train, val = (_decodable(source, scans[name]) for name, source in splits.items())
    return Checked(train.source, val, scans["training"].mean_rgb)


def check_one(
    source: Source,
    *,
    name: str,
    undecodable: str,
    cache_dir: str,
    num_workers: int = 0,
    progress: bool = True,
    once: Callable[[Callable[[], Any]], Any] = lambda function: function(),
) -> Images:
    """Scans one split, labelled or not, and refuses or leaves out what can't be decoded.

    Args:
      source: The split.
      name: What messages call its images.
      undecodable, cache_dir, num_workers, progress, once: See `check`.

    Raises:
      UserError: Images can't be decoded, and the choice is "refuse" or none is left.
    """

    def scanned() -> dict[str, Scan]:
        scans = _scans({name: source}, undecodable, cache_dir, num_workers, progress)
        _tell({name: source}, scans, cache_dir)
        return scans

    return _decodable(source, once(scanned)[name])


def _scans(
    splits: Mapping[str, Source], undecodable: str, cache_dir: str, num_workers: int, progress: bool
) -> dict[str, Scan]:
    scans = {
        name: scan(source, cache_dir, name=name, num_workers=num_workers, progress=progress)
        for name, source in splits.items()
    }
    lists = {
        name: _list(splits[name], name, found, cache_dir)
        for name, found in scans.items()
        if found.undecodable
    }
    if lists and undecodable == "refuse":
        raise UserError(
            "".join(lists.values())
            + "Repair or remove them, or go on without them: --config.data.undecodable=leave_out."
        )
    for name, found in scans.items():
        if found.mean_rgb is None:
            raise UserError(f"{lists[name]}None is left. Look at what data.dir holds.")
    return scans


def _refuse_untrainable(train_source: Source, scans: Mapping[str, Scan], cache_dir: str) -> None:
    for name, found in scans.items():
        unlabelled = len(found.sizes) - len(found.undecodable) - sum(found.class_counts)
        if unlabelled:
            raise UserError(
                f"{unlabelled:,} of the {len(found.sizes):,} {name} images have no label. Choose "
                "another split; unlabelled images can be evaluated: --mode=eval."
            )
    lost = _lost_classes(train_source, scans["training"])
    if lost:
        raise UserError(
            f"Of these classes no training image can be decoded: {_and_more(lost)}.\n"
            f"{_list(train_source, 'training', scans['training'], cache_dir)}"
            "Repair them, or remove the classes from every split."
        )


def _list(source: Source, name: str, found: Scan, cache_dir: str) -> str:
    return (
        f"{len(found.undecodable):,} of the {len(source):,} {name} images can't be "
        f"decoded (all in {cache_path(source, cache_dir)}):\n{_named(found.undecodable)}"
    )


def _tell(splits: Mapping[str, Source], scans: Mapping[str, Scan], cache_dir: str) -> None:
    for name, found in scans.items():
        if found.undecodable:
            keys = _and_more([image.key for image in found.undecodable])
            print(
                f"{len(found.undecodable):,} of the {len(splits[name]):,} {name} images can't be "
                f"decoded and are left out: {keys} (all in {cache_path(splits[name], cache_dir)})."
            )


def scan(
    source: Source, cache_dir: str, *, name: str, num_workers: int = 0, progress: bool = True
) -> Scan:
    """Decodes every image once, or takes what an earlier scan of the same index found.

    What was undecodable is tried again each time: where an image was made readable since, or
    repaired without a trace, all are scanned anew.

    Args:
      source: What to scan.
      cache_dir: Where the result is kept, under the source's contents_key.
      name: What the progress bar calls the images.
      num_workers: Processes that decode; 0 decodes in threads of this process.
      progress: Whether to show the progress bar.

    Raises:
      UserError: The cache_dir can't be written to.
    """
    path = cache_path(source, cache_dir)
    known = _load(path)
    if known and not known.undecodable:
        return known
    found = known and _still(source, known)
    if found is None:
        _make_folder(path.parent)  # Before the pass, which may be long.
        found = _pass(source, f"scanning the {name} images", num_workers, progress)
    if found != known:
        _save(found, path)
    return found


def cache_path(source: Source, cache_dir: str) -> pathlib.Path:
    """Returns the file that keeps a source's scan."""
    return pathlib.Path(cache_dir).expanduser() / "scans" / f"{source.contents_key}.json"


def _pass(source: Source, description: str, num_workers: int, progress: bool) -> Scan:
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


def _lost_classes(source: Source, found: Scan) -> list[str]:
    labels = sorted({source.label(image.index) for image in found.undecodable})
    return [source.class_names[label] for label in labels if not found.class_counts[label]]


def _decodable(source: Source, found: Scan) -> Images:
    if not found.undecodable:
        return Images(source, found.sizes)
    left_out = [image.index for image in found.undecodable]
    left = np.setdiff1d(np.arange(len(source)), left_out)
    return Images(Subset(source, left), found.sizes[left])


def _named(undecodable: Sequence[Undecodable]) -> str:
    lines = [f"    {image.key}: {image.reason}\n" for image in undecodable[:NUM_NAMED]]
    more = len(undecodable) - NUM_NAMED
    return "".join(lines) + (f"    and {more:,} more\n" if more > 0 else "")


def _and_more(names: Sequence[str]) -> str:
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _make_folder(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UserError(
            f"The cache {folder} can't be written to. Set --config.data.cache_dir to a folder that "
            "can."
        )


def _load(path: pathlib.Path) -> Scan | None:
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


def _save(found: Scan, path: pathlib.Path) -> None:
    saved = vars(found) | {
        "undecodable": [image._asdict() for image in found.undecodable],
        "sizes": _packed(found.sizes),
    }
    files.write_text(path, json.dumps(saved, indent=1) + "\n")


def _packed(sizes: Int32[np.ndarray, "n 2"]) -> str:
    # Of ImageNet's training images 2 MB; as numbers in text 30.
    return base64.b64encode(zlib.compress(sizes.astype("<i4").tobytes())).decode()


def _unpacked(text: str) -> Int32[np.ndarray, "n 2"]:
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, "<i4").astype(np.int32).reshape(-1, 2)
