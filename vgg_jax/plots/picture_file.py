"""Writes a figure as a picture."""

from matplotlib.figure import Figure

from vgg_jax.storage import files
from vgg_jax.storage.files import Path


def write(figure: Figure, path: Path, *, dpi: int) -> None:
    """Writes a figure in the format of the path's suffix, completely or not at all.

    Args:
      figure: The figure.
      path: The file of the picture, for example map.png. Its folder is made if it is missing.
      dpi: Pixels per inch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.written_aside(path) as aside:
        figure.savefig(aside, dpi=dpi, format=path.suffix[1:])
