"""The CSV file with the most probable classes of images, for spreadsheets and programs."""

import contextlib
import csv
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from vgg_jax import safe_text
from vgg_jax.evaluation import topk
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

Add = Callable[[str, Float[np.ndarray, " c"]], None]


@contextlib.contextmanager
def written(path: Path, class_names: tuple[str, ...], top: int) -> Iterator[Add]:
    """Yields a function that adds the row of an image: its name, then classes and probabilities.

    The file is there, or replaces another, when the context ends. After an error nothing changes.

    Args:
      path: The path of the file. Its folder is made if there is none.
      class_names: The name of each class, by label.
      top: At most how many classes an image has.
    """
    top = min(top, len(class_names))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{what}_{k}" for k in range(1, top + 1) for what in ("class", "probability")]
        writer.writerow(["image", *columns])

        def add(name: str, posteriors: Float[np.ndarray, " c"]) -> None:
            cells = [
                cell
                for k in topk.best(posteriors, top)
                for cell in (safe_text.cell(class_names[k]), f"{posteriors[k]:.6g}")
            ]
            writer.writerow([safe_text.cell(name), *cells])

        yield add
