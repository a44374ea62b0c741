"""Results from posteriors: the errors, or the most probable classes of unlabelled images."""

import csv
import json
from collections.abc import Mapping
from typing import Any

from vgg_jax import safe_text
from vgg_jax.evaluation import topk
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

TOP = 5


def write_result(file: Path, posteriors: Posteriors, title: str, about: Mapping[str, Any]) -> str:
    """Writes a result's JSON file, and for unlabelled images a CSV file of their top classes.

    Args:
      file: The JSON file; the CSV file lies beside it.
      posteriors: The posteriors of all images.
      title: The beginning of the returned line.
      about: The first entries of the JSON file.

    Returns:
      One line with the errors, their 95% intervals and the number of images; for unlabelled images
      with the path of the CSV file.
    """
    labels, values = posteriors.labels, posteriors.values
    file.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {**about, "num_images": len(labels)}
    if posteriors.is_labelled:
        errors = []
        for k in (1, TOP):
            num_wrong = int(topk.wrong(values, labels, k).sum())
            error, interval = 100 * num_wrong / len(labels), topk.interval(num_wrong, len(labels))
            result |= {f"top{k}_error": error, f"top{k}_interval": interval}
            errors.append("top-{} error {:.2f}% ({:.2f} to {:.2f})".format(k, error, *interval))
        line = f"{title}: {', '.join(errors)} on {len(labels):,} images"
    else:
        table = file.with_suffix(".csv")
        _write_csv(table, posteriors)
        line = (
            f"{title}: {len(labels):,} images without labels; their most probable classes are in "
            f"{table}"
        )
    result["made_by"] = posteriors.made_by
    files.write_text(file, json.dumps(result, indent=2) + "\n")
    return line


def top_classes(posteriors: Posteriors, index: int, top: int = TOP) -> list[tuple[str, float]]:
    """Returns an image's most probable classes, with their probabilities."""
    values = posteriors.values[index]
    return [(posteriors.class_names[k], float(values[k])) for k in topk.best(values, top)]


def _write_csv(path: Path, posteriors: Posteriors) -> None:
    with files.written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        top = min(TOP, len(posteriors.class_names))
        columns = [f"{what}_{k}" for k in range(1, top + 1) for what in ("class", "probability")]
        writer.writerow(["image", *columns])
        for index, name in enumerate(posteriors.names):
            cells = [
                cell
                for class_name, p in top_classes(posteriors, index)
                for cell in (safe_text.cell(class_name), f"{p:.6g}")
            ]
            writer.writerow([safe_text.cell(name), *cells])
