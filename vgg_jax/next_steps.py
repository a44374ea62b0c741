"""Commands for what one can do with a finished run, with the files that are there."""

import itertools
import pathlib
import shlex
from collections.abc import Iterator

from ml_collections import ConfigDict

from vgg_jax.data import image_files
from vgg_jax.data import settings as data_settings
from vgg_jax.data.sources import csv
from vgg_jax.errors import UserError
from vgg_jax.evaluation.result_key import FOLDER
from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import config_files, run_config
from vgg_jax.storage import files
from vgg_jax.storage.files import Path

# In a checkout, a picture for nets that were trained on the embedded set.
_SHAPES = pathlib.Path("notebooks/pictures/shapes.jpg")

_OWN_IMAGES = ("folder", "csv")  # The sources of a user's images.

_MOST_FILES = 1000  # So many are looked at to find a photo.


def lines(c: ConfigDict, workdir: Path) -> Iterator[str]:
    """Yields commands for a shell, and above each a comment that says what it does.

    Args:
      c: The run's config.
      workdir: The run's workdir. The run is finished.
    """
    python, run = "python -m vgg_jax", shlex.quote(str(workdir))
    yield "# What the net sees in a photo, and where:"
    yield f"{python}.predict {shlex.quote(_photo(c))} --workdir={run} --map=where.png"
    split = data_settings.evaluated_split(c)
    if _has(workdir, f"{split}-dense") and not _has(workdir, f"{split}-multicrop"):
        yield "# The paper's best test of the same images, which takes about ten times as long:"
        yield f"{python}.main --mode=eval --workdir={run} --config.eval.method=both"
    other = _evaluated_alike(c, workdir)
    if other:
        yield "# The average of two nets:"
        yield f"{python}.fuse {run} {shlex.quote(str(other))}"
    found = config_files.of_run(c.name)
    if found and c.data.name not in _OWN_IMAGES:
        config, plain = found
        keys = run_config.overrides(c, plain, net_settings.ARCHITECTURE_KEYS)
        tuned = shlex.quote(str(workdir.parent / f"{workdir.name}_tuned"))
        yield "# Your images, FOLDER/train/CLASS and FOLDER/val/CLASS, with a start from this net:"
        yield f"{python}.main {' '.join([f'--config={config}', *keys])} --workdir={tuned} \\"
        yield f"    --config.init_from={run} --config.init_layers=all_but_fc8 \\"
        yield "    --config.learning_rate=5e-3 --config.batch_size=8 --config.num_classes=0 \\"
        yield "    --config.data.name=folder --config.data.dir=FOLDER"
    yield "# The learning curves of all runs:"
    yield f"pip install tensorboard && tensorboard --logdir={shlex.quote(str(workdir.parent))}"


def _has(workdir: Path, stem: str) -> bool:
    """Returns whether posteriors of a split and method were computed."""
    return any(True for _ in (workdir / FOLDER).glob(f"{stem}-*.npz"))


def _photo(c: ConfigDict) -> str:
    """Returns an image that is there, if possible one of those that the run validated on."""
    if c.data.name == "shapes" and _SHAPES.exists():
        return str(_SHAPES)
    if c.data.name in _OWN_IMAGES and not files.in_bucket(files.path(c.data.dir)):
        for path in itertools.islice(_listed(c), _MOST_FILES):
            if image_files.is_image(path.name) and path.is_file():
                here = pathlib.Path.cwd()  # A saved config names the images by absolute paths.
                return str(path.relative_to(here) if path.is_relative_to(here) else path)
    return "PHOTO.jpg"


def _listed(c: ConfigDict) -> Iterator[pathlib.Path]:
    """Yields paths in the user's folder or CSV file, of the split that the run validated on."""
    root, split = pathlib.Path(c.data.dir).expanduser(), data_settings.evaluated_split(c)
    if c.data.name == "folder":
        yield from ((root / split) if (root / split).is_dir() else root).rglob("*")
        return
    try:
        rows = csv.read(c.data.dir).rows
    except UserError:  # The file has changed since.
        return
    of_split = [row for row in rows if row.split == split] or rows
    yield from (root.parent / row.path for row in of_split)


def _evaluated_alike(c: ConfigDict, workdir: Path) -> Path | None:
    """Returns the workdir of a neighbouring run that was evaluated on the same images."""
    if c.eval.method != "dense" or c.eval.scales:
        return None
    name = f"{data_settings.evaluated_split(c)}-dense-{c.val_scale}.npz"
    alike = [path.parent.parent for path in sorted(workdir.parent.glob(f"*/{FOLDER}/{name}"))]
    images = _images(workdir)
    return next((w for w in alike if w.name != workdir.name and _images(w) == images), None)


def _images(workdir: Path) -> list[object]:
    """Returns what the run's saved config says about the images; nothing if it can't be read."""
    try:
        c = run_config.existing(workdir)
    except UserError:
        return []
    ours = run_config.flat(c)
    return [ours[key] for key in (*run_config.IMAGES, "data.dir")]
