"""The name of the evaluated images in a result's files: a split of the run, or another set."""

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.data import sources
from vgg_jax.data.imagenet import forms
from vgg_jax.data.source import Source
from vgg_jax.data.sources import folder
from vgg_jax.data.specs import IMAGENET
from vgg_jax.errors import UserError
from vgg_jax.runs import record, run_config, saved_steps
from vgg_jax.storage.files import Path

# How the names of ILSVRC's images begin. Imagenette, for one, has training images in its val.
_ILSVRC_PREFIXES = {"train": "n", "validation": "ILSVRC2012_val_", "test": "ILSVRC2012_test_"}


def of(c: ConfigDict, workdir: Path, source: Source, class_names: tuple[str, ...]) -> str:
    """Returns the name of the images that a config evaluates a run on.

    It is the name of the split. The name of the data set stands before it if the images are not the
    run's own: their classes are not the net's, or they lie elsewhere and are neither ILSVRC's nor
    those that the run was validated on. A folder without splits has its own name.

    Args:
      c: The config of the evaluation.
      workdir: The run's folder.
      source: The images.
      class_names: The names of the net's classes.

    Raises:
      UserError: The config holds out some images of a set that the run wasn't trained on.
    """
    data = data_settings.data_spec(c)
    has_other_classes = source.class_names not in ((), class_names)
    if data_settings.is_whole_folder(c, source):
        own = data_settings.evaluated_split(run_config.existing(workdir))
        return folder.set_name(data.directory, (own, data_settings.HELD_OUT))
    own_name = None if has_other_classes else _own_name(c, workdir, source)
    if own_name is not None:
        return own_name
    if data.held_out:
        raise UserError(
            f"The run held out {data.held_out:,} of its training images, and "
            f"{data.directory or data.name} is another data set, only a part of which would be "
            "evaluated. To evaluate all of it, add --config.data.held_out=0."
        )
    is_file_or_folder = data.directory and data.name in sources.names()
    name = folder.set_name(data.directory).removesuffix(".csv")
    return f"{name if is_file_or_folder else data.name}-{data_settings.evaluated_split(c)}"


def _own_name(c: ConfigDict, workdir: Path, source: Source) -> str | None:
    """Returns the name of images of the net's classes; None if they are of another data set."""
    own, split = run_config.existing(workdir), data_settings.evaluated_split(c)
    here, there = map(data_settings.evaluated_data, (c, own))
    if (here["name"], here["dir"]) == (there["name"], there["dir"]):
        return split
    # Fingerprints differ from form to form. What is held out depends on the order in a form.
    is_ilsvrc = _is_ilsvrc(c, source)
    if is_ilsvrc and not c.data.held_out:
        return split
    fingerprint = record.read(saved_steps.last_checkpoint(workdir)).run.facts.val_fingerprint
    if not fingerprint:  # An imported net has none, and its images are taken for ILSVRC's.
        return split if is_ilsvrc or here["name"] != IMAGENET else None
    return data_settings.evaluated_split(own) if fingerprint == source.fingerprint else None


def _is_ilsvrc(c: ConfigDict, source: Source) -> bool:
    """Returns whether images are ILSVRC's own, and no others that data.name=imagenet reads."""
    data = data_settings.data_spec(c)
    if not forms.is_ilsvrc(data.name, source):
        return False
    split = data.train_split if data.held_out else data_settings.evaluated_split(c)
    return split in _ILSVRC_PREFIXES and source.name(0).startswith(_ILSVRC_PREFIXES[split])
