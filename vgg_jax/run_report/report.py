"""Makes the report of a run from what its workdir holds."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from vgg_jax import web_page
from vgg_jax.data.decoded import Decoded
from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, of_run, posteriors
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import FOLDER, ResultKey
from vgg_jax.evaluation.results import read_result
from vgg_jax.nets.label_rank import has_top5
from vgg_jax.run_report import sections
from vgg_jax.runs import run_config, saved_steps
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics_file

NAME = "report.html"

_STYLE = pathlib.Path(__file__).with_name("page.css")


def file_name(key: ResultKey, own_split: str) -> str:
    """Returns the name of the report that shows a result's posteriors.

    Args:
      key: The result.
      own_split: The split whose report is called `NAME`, unless only some classes count.
    """
    if key.split == own_split and not key.restriction.name:
        return NAME
    return f"report-{key.images_name}.html"


def write(workdir: Path, key: ResultKey, path: Path, images: Decoded | None = None) -> None:
    """Writes the report of a run as one HTML file.

    Args:
      workdir: The run's folder.
      key: The result whose posteriors are shown by class and image. It counts the images' own
        labels. The other results are listed.
      path: The file of the report.
      images: The images of these posteriors; None to open them.

    Raises:
      UserError: There is no run, or its posteriors are missing; the message has the command that
        makes them.
    """
    c = run_config.existing(workdir)
    found = fusion.read_run(workdir, key)
    if found is None:
        raise UserError(
            f"{workdir} has no posteriors of its last checkpoint for {key.split!r}, {key.method}, "
            f"Q = {', '.join(map(str, key.scales))}. This command makes them:\n"
            f"    {fusion.evaluation_command(workdir, key, [workdir])}"
        )
    found, restricted, _ = key.restriction.applied(found)
    train, val = (metrics_file.read(workdir, kind) for kind in ("train", "val"))
    results = [read_result(file) for file in sorted((workdir / FOLDER).glob("*.json"))]
    with_top5 = has_top5(len(found.class_names))
    parts = [sections.results(results, with_top5)]
    if train and val:
        parts.append(sections.learning(train, val, with_top5))
    if found.is_labelled:
        shown, why_not = (images, "") if images else _images(workdir, found)
        parts += [
            sections.by_class(found),
            sections.confused(found),
            sections.certain_errors(found, shown, why_not),
            sections.calibrated(found),
        ]
    parts.append(sections.times(train, _passes(results)))
    page = web_page.page(
        f"{c.name}: net {c.net}",
        f"Evaluated on {len(found.names):,} images of {key.split!r} by "
        f"{key.variant.beside(key.method)}, Q = {', '.join(map(str, key.scales))} px{restricted}.",
        _facts(c, workdir, found),
        parts,
        style=_STYLE,
    )
    files.write_text(path, page)


def _images(workdir: Path, found: Posteriors) -> tuple[Decoded | None, str]:
    """Returns the images that posteriors are of, or None and why they can't be shown."""
    try:
        return of_run.images(workdir, found), ""
    except UserError as error:
        return None, str(error)


def _passes(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns how the files of posteriors behind some results were made, each once."""
    found = {}
    for result in results:
        for made_by in posteriors.parts_made_by(result["made_by"]):
            found[json.dumps(made_by, sort_keys=True)] = made_by
    return list(found.values())


def _facts(c: ConfigDict, workdir: Path, found: Posteriors) -> list[tuple[str, str]]:
    identity, made_by = found.made_by["identity"], next(posteriors.parts_made_by(found.made_by))
    checkpoint = saved_steps.path(workdir, made_by["checkpoint_step"])
    named = [
        ("workdir", str(workdir)),
        ("starts from", "random weights" if c.init_from == "none" else c.init_from),
        ("training images", " ".join(filter(None, (c.data.name, c.data.dir)))),
        ("training scale S", " to ".join(map(str, dict.fromkeys(c.train_scale))) + " px"),
        ("crop", f"{c.crop_px} px"),
        ("classes", f"{len(found.class_names):,}"),
        (
            "checkpoint",
            f"step {made_by['checkpoint_step']:,}, {files.tree_size(checkpoint) / 1e6:,.1f} MB",
        ),
        ("arithmetic of the evaluation", identity["dtype"]),
        ("devices", made_by["devices"]),
        ("commit", made_by.get("commit", "")),
        ("JAX", made_by["jax"]),
    ]
    return [(name, value) for name, value in named if value]
