"""What an evaluation says of its posteriors: errors, or for unlabelled images the top classes."""

import csv
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vgg_jax import files, topk
from vgg_jax.errors import UserError
from vgg_jax.posteriors import Posteriors

TOP = 5


def stem(split: str, method: str, scales: Sequence[int]) -> str:
    """Names the files of a result, or of one method and Q: "val-dense-256_384_512"."""
    readable = "".join(c if c.isalnum() or c in "._" else "_" for c in split)
    return f"{readable}-{method}-{'_'.join(map(str, scales))}"


def path(
    workdir: pathlib.Path, split: str, method: str, scales: Sequence[int], suffix: str = ".json"
) -> pathlib.Path:
    """Returns where a run keeps a result, or with ".npz" the posteriors of one method and Q."""
    return workdir / "eval" / f"{stem(split, method, scales)}{suffix}"


def write(file: pathlib.Path, posteriors: Posteriors, title: str, about: Mapping[str, Any]) -> str:
    """Writes a result's JSON file, and of unlabelled images a CSV file of their top classes.

    Args:
      file: The JSON file; the CSV file lies beside it.
      posteriors: Of all images.
      title: Of the line that is returned.
      about: What else the JSON file says.

    Returns:
      The errors with their 95% intervals and the number of images, as one line; or where the CSV
      file is.

    Raises:
      UserError: The posteriors are not finite, or only some images are labelled.
    """
    labels, values = posteriors.labels, posteriors.values
    if not np.isfinite(values).all():
        raise UserError(
            f"{title}: the posteriors of {(~np.isfinite(values).all(axis=1)).sum():,} images are "
            "not finite. The checkpoint is not a net that trained; choose another."
        )
    if not posteriors.is_labelled and (labels >= 0).any():
        raise UserError(
            f"{title}: {(labels < 0).sum():,} of {len(labels):,} images have no label. Evaluate "
            "labelled and unlabelled images as two splits."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"title": title, **about, "num_images": len(labels)}
    if posteriors.is_labelled:
        for k in (1, TOP):
            num_wrong = int(topk.wrong(values, labels, k).sum())
            result[f"top{k}_error"] = 100 * num_wrong / len(labels)
            result[f"top{k}_interval"] = topk.interval(num_wrong, len(labels))
    else:
        _write_csv(file.with_suffix(".csv"), posteriors)
    files.write_text(file, json.dumps(result, indent=2) + "\n")
    return line(file)


def is_of(file: pathlib.Path, about: Mapping[str, Any]) -> bool:
    """Tells whether a JSON file is there and says all this of its result."""
    return file.exists() and about.items() <= json.loads(file.read_text()).items()


def line(file: pathlib.Path) -> str:
    """Returns what `write` returned when it wrote this file."""
    result = json.loads(file.read_text())
    title, count = result["title"], f"{result['num_images']:,} images"
    if "top1_error" not in result:
        table = file.with_suffix(".csv")
        return f"{title}: {count} without labels; their top {TOP} classes are in {table}"
    errors = (
        "top-{} error {:.2f}% ({:.2f} to {:.2f})".format(
            k, result[f"top{k}_error"], *result[f"top{k}_interval"]
        )
        for k in (1, TOP)
    )
    return f"{title}: {', '.join(errors)} on {count}"


def top_classes(posteriors: Posteriors, index: int, top: int = TOP) -> list[tuple[str, float]]:
    """Returns an image's most probable classes, with their probabilities."""
    values = posteriors.values[index]
    return [(posteriors.class_names[k], float(values[k])) for k in topk.best(values, top)]


def _write_csv(path: pathlib.Path, posteriors: Posteriors) -> None:
    with files.written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        top = min(TOP, len(posteriors.class_names))
        columns = [f"{what}_{k}" for k in range(1, top + 1) for what in ("class", "probability")]
        writer.writerow(["image", *columns])
        for index, name in enumerate(posteriors.names):
            cells = [
                cell
                for class_name, p in top_classes(posteriors, index)
                for cell in (class_name, f"{p:.6g}")
            ]
            writer.writerow([name, *cells])
