"""The elements of a run's report as HTML: tables, pictures, photos and folded parts."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from vgg_jax.web_page import escaped

_NUMBER = ' class="number"'  # An attribute of a cell.
_PHOTO_PX = 192  # The longer side. Twelve photos then take less than 200 KB.


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """Returns a table.

    Args:
      head: The columns' names.
      rows: A text per column for each row.
      texts: How many columns, from the left, hold texts. The others hold numbers.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if i < texts else _NUMBER}>{escaped(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    lines = "".join(f"<tr>{row(cells, 'td')}</tr>\n" for cells in rows)
    return (
        f'<div class="wide"><table><thead><tr>{row(head, "th")}</tr></thead>\n'
        f"<tbody>{lines}</tbody></table></div>\n"
    )


def picture(figure: Figure, text: str) -> str:
    """Returns a figure as part of the page.

    Args:
      figure: The figure.
      text: What it shows, for those who can't see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    width, height = figure.get_size_inches()
    name = "broad figure" if width > 2.5 * height else "figure"  # A phone scrolls broad ones.
    image = _image("image/svg+xml", buffer.getvalue(), text, name)
    return f'<div class="wide">{image}</div>\n'


def photos(images: Sequence[UInt8[np.ndarray, "_ _ 3"]], titles: Sequence[Sequence[str]]) -> str:
    """Returns small copies of images, each above lines of text.

    Args:
      images: RGB, 0-255, any sizes.
      titles: The lines for each image.
    """
    cells = []
    for pixels, lines in zip(images, titles, strict=True):
        small = Image.fromarray(pixels)
        small.thumbnail((_PHOTO_PX, _PHOTO_PX))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        shown = _image("image/jpeg", buffer.getvalue(), lines[0], "photo")
        cells.append(
            f"<figure>{shown}<figcaption>{'<br>'.join(map(escaped, lines))}</figcaption></figure>"
        )
    return f'<div class="photos">{"".join(cells)}</div>\n'


def folded(summary: str, content: str) -> str:
    """Returns content, as HTML, that appears once its summary is clicked."""
    return f"<details><summary>{escaped(summary)}</summary>\n{content}</details>\n"


def _image(kind: str, data: bytes, text: str, name: str) -> str:
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img class="{name}" alt="{escaped(text)}" src="{source}">'
