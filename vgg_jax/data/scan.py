"""One pass over a source, cached: its mean RGB (§2.1), its sizes and its undecodable images."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence

import grain.python as grain
import numpy as np

from vgg_jax.data import decode_budget, images, prefetch, scan_files, workers
from vgg_jax.data.scan_files import cache_path
from vgg_jax.data.scan_results import Decodable, Scan, Tally, Undecodable
from vgg_jax.data.source import Source, Subset
from vgg_jax.data.specs import ScanOptions
from vgg_jax.errors import UndecodableError
from vgg_jax.storage import cache_folder
from vgg_jax.system import progress_bar

IMAGES_A_MESSAGE = 32  # A worker process sends results of this many together.
# What was found is kept so often, or more seldom if writing it would take more than a hundredth of
# the time. A scan that is killed loses no more than that.
KEPT_EVERY_S = 10.0


def scan(source: Source, name: str, options: ScanOptions) -> Scan:
    """Decodes every image once, or returns what an earlier scan with the same contents_key found.

    A scan that was interrupted goes on where it was, and finds the same, to the bit.

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
    known = scan_files.read_finished(path, source)
    found = known and _still(source, known)
    if found is None:
        cache_folder.make(path.parent)  # It may fail, so it comes before the pass, which is long.
        found = _whole_pass(source, name, options)
    if found != known:
        scan_files.write_finished(path, found)
    scan_files.remove(scan_files.unfinished_path(source, options.cache_dir))
    return found


def _whole_pass(source: Source, name: str, options: ScanOptions) -> Scan:
    path = scan_files.unfinished_path(source, options.cache_dir)
    tally = _begun(source, scan_files.read_unfinished(path, source))
    if tally.count:
        print(f"The scan goes on at {tally.count:,} of {len(source):,} {name} images.")
    due_s = time.monotonic() + KEPT_EVERY_S

    def keep() -> None:
        nonlocal due_s
        begin_s = time.monotonic()
        if begin_s >= due_s:
            scan_files.write_unfinished(path, tally)
            end_s = time.monotonic()
            due_s = end_s + max(KEPT_EVERY_S, 100 * (end_s - begin_s))

    num_workers = workers.resolved(options.num_workers, source)
    description = f"scanning the {name} images"
    _pass(source, tally, num_workers, description, progress=options.progress, keep=keep)
    return tally.scan()


def _begun(source: Source, kept: Tally | None) -> Tally:
    """Returns what an interrupted scan has kept, or an empty tally if it doesn't hold any more."""
    if kept is not None:
        undecodable = _still_undecodable(source, kept.undecodable)
        if undecodable is not None:
            return dataclasses.replace(kept, undecodable=undecodable)
    return Tally.empty(source)


def _pass(
    source: Source,
    tally: Tally,
    num_workers: int,
    description: str = "",
    *,
    progress: bool = False,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Adds the images that a tally lacks, and calls `keep` now and then."""
    examined = grain.MapDataset.range(tally.count, len(source)).map(_Examine(source))
    chunks = examined.batch(IMAGES_A_MESSAGE, batch_fn=list)
    bar = progress_bar.bar(
        len(source), "images", description, done=tally.count, disable=not progress
    )
    with contextlib.closing(prefetch.prefetched(chunks, num_workers)) as results, bar:
        for chunk in results:
            for result in chunk:
                tally.add(result)
            bar.update(len(chunk))
            keep()


@dataclasses.dataclass(frozen=True)
class _Examine(grain.MapTransform):
    source: Source

    def map(self, element: int) -> Decodable | Undecodable:
        try:
            return decode_budget.with_room_kept(lambda: self._examine(int(element)))
        except UndecodableError as error:
            return Undecodable(int(element), error.key, error.reason)

    def _examine(self, index: int) -> Decodable:
        example = self.source[index]
        image = images.decode(example.image, example.key)
        levels = np.reshape(image.histogram(), (3, 256))
        mean = levels @ np.arange(256) / (image.width * image.height)
        return Decodable(example.label, mean.tolist(), (image.height, image.width))


def _still(source: Source, known: Scan) -> Scan | None:
    """Returns a known scan with the keys of today; None if it doesn't hold any more."""
    undecodable = _still_undecodable(source, known.undecodable)
    if undecodable is None:
        return None
    return dataclasses.replace(known, undecodable=tuple(undecodable))


def _still_undecodable(source: Source, known: Sequence[Undecodable]) -> list[Undecodable] | None:
    """Tries undecodable images again; returns None if one of them can be decoded now."""
    if not known:
        return []
    indices = np.array([image.index for image in known])
    images_again = Subset(source, indices)
    again = Tally.empty(images_again)
    _pass(images_again, again, num_workers=0)
    if len(again.undecodable) < len(known):
        return None
    # The new keys are kept: they are paths, and the folder may have moved.
    return [image._replace(index=int(indices[image.index])) for image in again.undecodable]
