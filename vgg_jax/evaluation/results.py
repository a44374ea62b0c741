"""Results from posteriors: the errors, or the most probable classes of unlabelled images."""

from collections.abc import Mapping
from typing import Any

from vgg_jax.counted import counted
from vgg_jax.evaluation import class_table, topk
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.storage import sealed_json
from vgg_jax.storage.files import Path

TOP = 5

_REMEDY = (
    "Remove it; the evaluation or fusion then writes it again, from the posteriors that it kept."
)


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
        result |= _errors(posteriors)
        line = f"{title}: {errors_as_text(posteriors)} on {counted(len(labels), 'images')}"
    else:
        table = file.with_suffix(".csv")
        with class_table.written(table, posteriors.class_names, TOP) as add:
            for name, values_of_image in zip(posteriors.names, values, strict=True):
                add(name, values_of_image)
        line = (
            f"{title}: {counted(len(labels), 'images')} without labels; their most "
            f"probable classes are in {table}"
        )
    result["made_by"] = posteriors.made_by
    sealed_json.write(file, result)
    return line


def errors_as_text(posteriors: Posteriors) -> str:
    """Returns the errors of labelled images, in percent, with their 95% intervals."""
    errors = _errors(posteriors)
    tops = [k for k in (1, TOP) if k < len(posteriors.class_names)]  # At others none can be wrong.
    return ", ".join(
        "top-{} error {:.2f}% ({:.2f} to {:.2f})".format(
            k, errors[f"top{k}_error"], *errors[f"top{k}_interval"]
        )
        for k in tops
    )


def _errors(posteriors: Posteriors) -> dict[str, Any]:
    errors, num_images = {}, len(posteriors.labels)
    for k in (1, TOP):
        num_wrong = int(topk.wrong(posteriors.values, posteriors.labels, k).sum())
        errors[f"top{k}_error"] = 100 * num_wrong / num_images
        errors[f"top{k}_interval"] = topk.interval(num_wrong, num_images)
    return errors


def read_result(file: Path) -> dict[str, Any]:
    """Reads a result's JSON file.

    Raises:
      UserError: The file is damaged.
    """
    return sealed_json.read(file, _checked, _REMEDY)


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    sealed_json.require_types(result, {"split": str, "method": str, "num_images": int})
    for k in (1, TOP):
        if f"top{k}_error" in result:
            sealed_json.require_types(
                result, {f"top{k}_error": (int, float), f"top{k}_interval": list}
            )
            if not 0 <= result[f"top{k}_error"] <= 100:
                raise ValueError(f"its top-{k} error is {result[f'top{k}_error']}%")
    return result
