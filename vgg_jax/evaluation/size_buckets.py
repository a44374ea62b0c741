"""Groups images of many sizes into batches of few shapes, with little padding."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

MAX_SHAPES = 8
# Fewer shapes than MAX_SHAPES do where they waste no more than this. Each takes a compilation, and
# for images of FEW_PX or less together that is longer than what it saves.
ENOUGH_WASTE, ENOUGH_WASTE_OF_FEW = 0.10, 0.25
FEW_PX = 2**26
MAX_LENGTHS = 1000  # So many are told apart; where there are more, they are rounded up.


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """Images that one call computes.

    Attributes:
      height, width: The size of each place in the batch, px.
      indices: The images' indices, by place; -1 in places that stay empty.
    """

    height: int
    width: int
    indices: Int[np.ndarray, " b"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of places, height, width: what a program is compiled for."""
        return len(self.indices), self.height, self.width


@dataclasses.dataclass(frozen=True)
class Plan:
    """All batches of a pass over some images, the largest places first.

    Attributes:
      batches: In order.
      waste: The part of all pixels, in [0, 1), that is padding and empty places.
    """

    batches: tuple[PlannedBatch, ...]
    waste: float

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The shapes that occur."""
        return tuple(dict.fromkeys(batch.shape for batch in self.batches))

    def without(self, done: Bool[np.ndarray, " n"]) -> "Plan":
        """Leaves out the batches whose images are all done already."""
        left = [b for b in self.batches if not done[b.indices[b.indices >= 0]].all()]
        return dataclasses.replace(self, batches=tuple(left))


def plan(
    sizes: Int[np.ndarray, "n 2"],
    most_places: Callable[[int, int], int],
    *,
    multiple: int = 1,
    even: bool = True,
) -> Plan:
    """Chooses the shapes for which the fewest pixels are computed.

    One side of images that were rescaled to Q is Q, so wide and tall ones each lie on a line, on
    which dynamic programming finds the best cuts.

    Args:
      sizes: Height and width of each image after rescaling; the shorter sides are all equal.
      most_places: (height, width) -> how many places of that size a batch has at most.
      multiple: Every batch has a multiple of so many places: the number of devices. A batch may so
        have more than `most_places`, never less than one for each device.
      even: Divide a shape's images evenly over as few batches as hold them; else all batches have
        `most_places`, and one program serves whatever doesn't depend on the size.

    Returns:
      A plan of at most `MAX_SHAPES` shapes, which is the same wherever the arguments are.
    """
    if not len(sizes):
        return Plan((), 0.0)
    scale = int(sizes.min())
    wide = sizes[:, 1] > sizes[:, 0]  # A square one is as good as tall.
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
      lines: One or two.
      needed: The pixels of the images themselves.

    Returns:
      The number of shapes of each line, and how many pixels are then computed.
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
    """Images whose one side is Q, by the length of the other."""

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
        # Stable, so that the plan doesn't depend on the sorting.
        self._indices = indices[np.argsort(lengths, kind="stable")]
        self._lengths, counts = np.unique(lengths, return_counts=True)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._costs, self._cuts = self._solve()

    def cost(self, count: int) -> float:
        """Returns how many pixels are computed with at most so many shapes."""
        return float(self._costs[min(count, len(self._lengths)) - 1][-1])

    def batches(self, count: int, scale: int) -> Sequence[PlannedBatch]:
        """Returns the batches of at most so many shapes."""
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
        indices = self._indices[self._ends[begin] : self._ends[end]]
        number, places = self._division(np.array([len(indices)]), length)
        padded = np.full(int(number[0] * places[0]), -1)
        padded[: len(indices)] = indices
        return [PlannedBatch(height, width, part) for part in padded.reshape(int(number[0]), -1)]

    def _division(
        self, images: Int[np.ndarray, " j"], length: int
    ) -> tuple[Int[np.ndarray, " j"], Int[np.ndarray, " j"]]:
        """Returns how many batches of how many places hold so many images."""
        size = (self._scale, length) if self._horizontal else (length, self._scale)
        multiple = self._multiple
        most = max(multiple, self._most_places(*size) // multiple * multiple)
        number = -(-images // most)
        if not self._even:
            return number, np.full_like(images, most)
        places = -(-images // np.maximum(number, 1))
        return number, -(-places // multiple) * multiple

    def _solve(self) -> tuple[list[Float[np.ndarray, " e"]], list[Int[np.ndarray, " e"]]]:
        """Finds the least cost of the first `end` lengths, and the last cut, for each count."""
        n = len(self._lengths)
        alone = np.full((n + 1, n + 1), np.inf)  # [begin, end]: all in one shape.
        for end in range(1, n + 1):
            length = int(self._lengths[end - 1])
            number, places = self._division(self._ends[end] - self._ends[:end], length)
            alone[:end, end] = number * places * length * self._scale
        costs, cuts = [alone[0]], [np.zeros(n + 1, int)]
        costs[0][0] = 0
        for _ in range(1, min(MAX_SHAPES, n)):
            totals = costs[-1][:, None] + alone
            np.fill_diagonal(totals, costs[-1])  # One shape fewer.
            cuts.append(totals.argmin(axis=0))
            costs.append(totals.min(axis=0))
        return costs, cuts
