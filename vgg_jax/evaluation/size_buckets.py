"""Groups images of many sizes into batches of few shapes, with little padding."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

MAX_SHAPES = 8
# A plan has fewer shapes than MAX_SHAPES if it then wastes no more than ENOUGH_WASTE, or for images
# of at most FEW_PX pixels in all, ENOUGH_WASTE_OF_FEW. Each shape must be compiled, which for so
# few pixels takes longer than it saves.
ENOUGH_WASTE, ENOUGH_WASTE_OF_FEW = 0.10, 0.25
FEW_PX = 2**26
MAX_LENGTHS = 1000  # If images have more different lengths, the lengths are rounded up.


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """The images of one batch.

    Attributes:
      height, width: The size of each place in the batch, px.
      indices: The index of the image in each place; -1 in places that stay empty.
    """

    height: int
    width: int
    indices: Int[np.ndarray, " b"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The number of places, the height and the width, for which a program is compiled."""
        return len(self.indices), self.height, self.width


@dataclasses.dataclass(frozen=True)
class Plan:
    """All batches of a pass over some images.

    Attributes:
      batches: The batches in order, those with the largest places first.
      waste: The fraction of all pixels, in [0, 1), that are padding or in empty places.
    """

    batches: tuple[PlannedBatch, ...]
    waste: float

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The different shapes of the batches."""
        return tuple(dict.fromkeys(batch.shape for batch in self.batches))

    def without(self, done: Bool[np.ndarray, " n"]) -> "Plan":
        """Returns the plan without the batches whose images are all done."""
        left = [b for b in self.batches if not done[b.indices[b.indices >= 0]].all()]
        return dataclasses.replace(self, batches=tuple(left))


def plan(
    sizes: Int[np.ndarray, "n 2"],
    most_places: Callable[[int, int], int],
    *,
    multiple: int = 1,
    even: bool = True,
) -> Plan:
    """Plans batches of few shapes, chosen so that the fewest pixels are computed.

    One side of every rescaled image is Q, so wide images differ only in their width and tall ones
    only in their height. For each of the two, the images are sorted by this length, and dynamic
    programming finds the best places to cut them into shapes.

    Args:
      sizes: Height and width of each image after rescaling; the shorter sides are all equal.
      most_places: Takes a height and width, and returns the most places of this size in a batch.
      multiple: The number of devices. Every batch has a multiple of this number of places, so it
        has at least one for each device, even if `most_places` is less.
      even: Whether the images of a shape are divided evenly over as few batches as hold them.
        Otherwise all batches have `most_places` places, and computations that don't depend on the
        images' size share one program.

    Returns:
      A plan of at most `MAX_SHAPES` shapes. Equal arguments give the same plan in every process.
    """
    if not len(sizes):
        return Plan((), 0.0)
    scale = int(sizes.min())
    wide = sizes[:, 1] > sizes[:, 0]  # Square images count as tall.
    lines = [
        _Line(np.flatnonzero(of), sizes, horizontal, most_places, multiple, even)
        for horizontal, of in ((True, wide), (False, ~wide))
        if of.any()
    ]
    needed = int(sizes.prod(axis=1).sum())
    counts, computed = _cheapest(lines, needed)
    batches = []
    for line, count in zip(lines, counts, strict=True):
        batches += line.batches(count, scale)
    batches.sort(key=lambda batch: -batch.height * batch.width)
    return Plan(tuple(batches), 1 - needed / computed)


def _cheapest(lines: Sequence["_Line"], needed: int) -> tuple[list[int], float]:
    """Chooses how many shapes each line has: the fewest that waste little enough, else the best.

    Args:
      lines: One or two lines.
      needed: The number of pixels of the images, without padding.

    Returns:
      The number of shapes of each line, and the number of pixels that are then computed.
    """
    enough_waste = ENOUGH_WASTE_OF_FEW if needed <= FEW_PX else ENOUGH_WASTE
    best, least = [], math.inf
    for counts in _divisions(len(lines)):
        wastes_little = bool(best) and 1 - needed / least <= enough_waste
        if wastes_little and sum(counts) > sum(best):
            break
        computed = sum(line.cost(count) for line, count in zip(lines, counts, strict=True))
        if computed < least:
            best, least = counts, computed
    return best, least


def _divisions(num_lines: int) -> list[list[int]]:
    """Lists how up to MAX_SHAPES shapes can be divided among one or two lines, fewest first."""
    if num_lines == 1:
        return [[count] for count in range(1, MAX_SHAPES + 1)]
    divisions = []
    for total in range(2, MAX_SHAPES + 1):
        for first in range(1, total):
            divisions.append([first, total - first])
    return divisions


class _Line:
    """All wide or all tall images: one side is Q, and they are sorted by the other's length."""

    def __init__(
        self,
        indices: Int[np.ndarray, " m"],
        sizes: Int[np.ndarray, "n 2"],
        horizontal: bool,
        most_places: Callable[[int, int], int],
        multiple: int,
        even: bool,
    ) -> None:
        self._horizontal, self._most_places = horizontal, most_places
        self._multiple, self._even = multiple, even
        self._scale = int(sizes.min())
        lengths = sizes[indices].max(axis=1)
        step = 1
        while len(np.unique(-(-lengths // step))) > MAX_LENGTHS:
            step *= 2
        lengths = -(-lengths // step) * step
        # The sort is stable, so that the plan doesn't depend on NumPy's algorithm.
        self._indices = indices[np.argsort(lengths, kind="stable")]
        self._lengths, counts = np.unique(lengths, return_counts=True)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._costs, self._cuts = self._solve()

    def cost(self, count: int) -> float:
        """Returns the number of pixels that are computed with at most `count` shapes."""
        return float(self._costs[min(count, len(self._lengths)) - 1][-1])

    def batches(self, count: int, scale: int) -> Sequence[PlannedBatch]:
        """Returns the batches, which have at most `count` shapes."""
        result, end = [], len(self._lengths)
        for shapes in reversed(range(min(count, len(self._lengths)))):
            begin = int(self._cuts[shapes][end])
            if begin < end:
                result += self._fill(begin, end, scale)
            end = begin
        return result

    def _fill(self, begin: int, end: int, scale: int) -> Sequence[PlannedBatch]:
        length = int(self._lengths[end - 1])
        height, width = (scale, length) if self._horizontal else (length, scale)
        # In this order, a batch reads few blocks of a source that is stored in blocks.
        indices = np.sort(self._indices[self._ends[begin] : self._ends[end]])
        number, places = self._division(np.array([len(indices)]), length)
        padded = np.full(int(number[0] * places[0]), -1)
        padded[: len(indices)] = indices
        return [PlannedBatch(height, width, part) for part in padded.reshape(int(number[0]), -1)]

    def _division(
        self, images: Int[np.ndarray, " j"], length: int
    ) -> tuple[Int[np.ndarray, " j"], Int[np.ndarray, " j"]]:
        """Returns the number of batches, and of places in each, that hold a number of images."""
        size = (self._scale, length) if self._horizontal else (length, self._scale)
        multiple = self._multiple
        most = max(multiple, self._most_places(*size) // multiple * multiple)
        number = -(-images // most)
        if not self._even:
            return number, np.full_like(images, most)
        places = -(-images // np.maximum(number, 1))
        return number, -(-places // multiple) * multiple

    def _solve(self) -> tuple[list[Float[np.ndarray, " e"]], list[Int[np.ndarray, " e"]]]:
        """Finds the least cost of the first `end` lengths, and its last cut, per shape count."""
        n = len(self._lengths)
        alone = np.full((n + 1, n + 1), np.inf)  # [begin, end]: the cost of one shape for all.
        for end in range(1, n + 1):
            length = int(self._lengths[end - 1])
            number, places = self._division(self._ends[end] - self._ends[:end], length)
            alone[:end, end] = number * places * length * self._scale
        costs, cuts = [alone[0]], [np.zeros(n + 1, int)]
        costs[0][0] = 0
        for _ in range(1, min(MAX_SHAPES, n)):
            totals = costs[-1][:, None] + alone
            np.fill_diagonal(totals, costs[-1])  # Or one shape fewer.
            cuts.append(totals.argmin(axis=0))
            costs.append(totals.min(axis=0))
        return costs, cuts
