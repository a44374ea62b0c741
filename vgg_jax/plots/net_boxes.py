"""Nets as rows of boxes: a box is as high, deep and long as its layer's output."""

import colorsys
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon

_INCHES_PER_CHANNEL = 9e-4
_FACE_INCHES = 0.95  # The side of the first layers' boxes.
_DEPTH = (0.36, 0.18)  # Where the depth points in the oblique projection, per side.
_GAP_INCHES = 0.05  # Between the boxes of a block.
_BLOCK_GAP_INCHES, _TITLE_INCHES = 0.3, 0.95
_LEFT_INCHES, _BAR_INCHES, _ROW_INCHES = 1.6, 1.0, 1.2
_TOP_INCHES, _BOTTOM_INCHES, _CAPTION_INCHES = 0.75, 0.95, 11.1
_POINTS, _MARGIN = 11, 0.2


@dataclasses.dataclass(frozen=True)
class Box:
    """A layer's output.

    Attributes:
      kind: A key of the figure's colours.
      side: Height and width of the output, in cells.
      channels: The number of channels; 0 for a thin sheet.
    """

    kind: str
    side: float
    channels: int


@dataclasses.dataclass(frozen=True)
class Row:
    """A net.

    Attributes:
      name: The net's name.
      note: A line below its name.
      blocks: The boxes of each block. All rows have the same number of blocks.
      bars: For each of the figure's bars, its parts in the order of `bar_colours`.
      bar_texts: The text at the end of each bar.
    """

    name: str
    note: str
    blocks: Sequence[Sequence[Box]]
    bars: Sequence[Sequence[int]]
    bar_texts: Sequence[str]


def figure(
    rows: Sequence[Row],
    *,
    block_titles: Sequence[str],
    bar_titles: Sequence[str],
    bar_colours: Sequence[str],
    colours: Mapping[str, tuple[str, str]],
    caption: str,
) -> Figure:
    """Returns a row of boxes for each net, with the nets' blocks below each other, and bars.

    Args:
      rows: The nets, the first on top.
      block_titles: The text above each block.
      bar_titles: The text above each column of bars.
      bar_colours: The colour of each part of a bar.
      colours: The colour and the legend's text for each kind of box.
      caption: The text below, which says what is drawn to which scale.
    """
    side = max(box.side for row in rows for block in row.blocks for box in block)
    per_cell = _FACE_INCHES / side
    starts, widths, x = [], [], _LEFT_INCHES
    for of_rows in zip(*(row.blocks for row in rows), strict=True):
        deep_x = _DEPTH[0] * per_cell * max(box.side for block in of_rows for box in block)
        starts.append(x + deep_x / 2)
        widths.append(max(sum(map(_length, block)) for block in of_rows))
        x += max(widths[-1] + deep_x + _BLOCK_GAP_INCHES, _TITLE_INCHES)
    bar_starts = [x + i * (_BAR_INCHES + 0.75) for i in range(len(bar_titles))]
    right = max(bar_starts[-1] + _BAR_INCHES + 0.75, _CAPTION_INCHES)
    height = _TOP_INCHES + len(rows) * _ROW_INCHES + _BOTTOM_INCHES
    result = Figure(figsize=(right, height), facecolor="white")
    axes = result.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right), ylim=(-height, 0))
    axes.set_axis_off()

    for start, width, title in zip(starts, widths, block_titles, strict=True):
        axes.text(start + width / 2, -0.1, title, ha="center", va="top", fontsize=_POINTS)
    for start, title in zip(bar_starts, bar_titles, strict=True):
        axes.text(start, -0.1, title, va="top", fontsize=_POINTS)
    largest = [max(sum(row.bars[i]) for row in rows) for i in range(len(bar_titles))]
    for number, row in enumerate(rows):
        middle = -(_TOP_INCHES + (number + 0.5) * _ROW_INCHES)
        if number:
            line = middle + _ROW_INCHES / 2
            axes.plot([0.12, right - 0.12], [line, line], color="0.88", linewidth=0.8)
        axes.text(_MARGIN, middle + 0.07, row.name, fontsize=19, weight="bold", va="bottom")
        axes.text(_MARGIN, middle - 0.02, row.note, fontsize=_POINTS, color="0.3", va="top")
        for x, block in zip(starts, row.blocks, strict=True):
            _draw_block(axes, x, middle, block, per_cell, colours)
        for i, x in enumerate(bar_starts):
            parts = [_BAR_INCHES * part / largest[i] for part in row.bars[i]]
            _draw_bar(axes, x, middle, parts, bar_colours, row.bar_texts[i])
    _add_legend(axes, colours.values(), (_MARGIN, 0.6 - height))
    axes.text(_MARGIN, 0.14 - height, caption, fontsize=_POINTS - 1, color="0.3", va="bottom")
    return result


def _add_legend(
    axes: Axes, colours: Iterable[tuple[str, str]], lower_left: tuple[float, float]
) -> None:
    patches = [
        Patch(facecolor=colour, edgecolor=_shaded(colour, 0.45), label=text)
        for colour, text in colours
    ]
    axes.legend(
        handles=patches,
        loc="lower left",
        bbox_to_anchor=lower_left,
        bbox_transform=axes.transData,
        ncols=len(patches),
        frameon=False,
        fontsize=_POINTS,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        columnspacing=1.6,
    )


def _draw_block(
    axes: Axes,
    left: float,
    middle: float,
    boxes: Sequence[Box],
    per_cell: float,
    colours: Mapping[str, tuple[str, str]],
) -> None:
    for box in boxes:
        _draw_box(axes, left, middle, box, per_cell, colours[box.kind][0])
        left += _length(box)


def _draw_bar(
    axes: Axes,
    left: float,
    middle: float,
    widths: Sequence[float],
    colours: Sequence[str],
    text: str,
) -> None:
    axes.barh(middle, widths, 0.2, np.cumsum([left, *widths[:-1]]), color=colours)
    axes.text(left + sum(widths) + 0.06, middle, text, fontsize=_POINTS, va="center")


def _thickness(box: Box) -> float:
    return max(_INCHES_PER_CHANNEL * box.channels, 0.028)


def _length(box: Box) -> float:
    return _thickness(box) + _GAP_INCHES


def _draw_box(
    axes: Axes, left: float, middle: float, box: Box, per_cell: float, colour: str
) -> None:
    """Draws the front, the top and the right side of a box.

    The middle of its left side lies at (left, middle).
    """
    side = box.side * per_cell
    deep_x, deep_y = (side * part for part in _DEPTH)
    left -= deep_x / 2
    right = left + _thickness(box)
    low = middle - (side + deep_y) / 2
    high = low + side
    front = [(left, low), (right, low), (right, high), (left, high)]
    back = [(x + deep_x, y + deep_y) for x, y in front]
    faces = (
        (front, 1.0),
        ([front[3], front[2], back[2], back[3]], 1.25),
        ([front[1], back[1], back[2], front[2]], 0.8),
    )
    for corners, brightness in faces:
        axes.add_patch(
            Polygon(
                corners,
                facecolor=_shaded(colour, brightness),
                edgecolor=_shaded(colour, 0.45),
                linewidth=0.5,
                joinstyle="round",
            )
        )


def _shaded(colour: str, brightness: float) -> tuple[float, float, float]:
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    return colorsys.hls_to_rgb(hue, min(1.0, lightness * brightness), saturation)
