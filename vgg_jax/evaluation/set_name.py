"""The name of the evaluated images in a result's files: a split of the run, or another set."""

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.data import sources
from vgg_jax.data.source import Source
from vgg_jax.data.sources import folder
from vgg_jax.errors import UserError
from vgg_jax.runs import record, run_config, saved_steps
from vgg_jax.storage.files import Path

# ImageNet has several forms, whose fingerprints differ. Its validation split is the same in all.
_IN_FORMS = ("imagenet", "imagenet2012")


def of(c: ConfigDict, workdir: Path, source: Source, class_names: tuple[str, ...]) -> str:
    """Returns the name of the images that a config evaluates a run on.

    It is the name of the split. The name of the data set stands before it if the images are not the
    run's own: their classes are not the net's, or they are other images than those that the run was
    validated on. A folder without splits has its own name.

    Args:
      c: The config of the evaluation.
      workdir: The run's folder.
      source: The images.
      class_names: The names of the net's classes.

    Raises:
      UserError: The config holds out some images of a set that the run wasn't trained on.
    """
    split, data = data_settings.evaluated_split(c), data_settings.data_spec(c)
    has_other_classes = source.class_names not in ((), class_names)
    if data.held_out:
        if has_other_classes or _has_other_images(c, workdir, source):
            raise UserError(
                f"The run held out {data.held_out:,} of its training images, and "
                f"{data.directory or data.name} is another data set, only a part of which would be "
                "evaluated. To evaluate all of it, add --config.data.held_out=0."
            )
        return split
    if data_settings.opens_whole_folder(c):
        own = data_settings.evaluated_split(run_config.existing(workdir))
        return folder.set_name(data.directory, (own, data_settings.HELD_OUT))
    if has_other_classes or (data.name not in _IN_FORMS and _has_other_images(c, workdir, source)):
        is_file_or_folder = data.directory and data.name in sources.names()
        name = folder.set_name(data.directory).removesuffix(".csv")
        return f"{name if is_file_or_folder else data.name}-{split}"
    return split


def _has_other_images(c: ConfigDict, workdir: Path, source: Source) -> bool:
    """Returns whether images are called the run's validation split, but are others, elsewhere."""
    own = run_config.existing(workdir)
    is_moved = (c.data.name, c.data.dir) != (own.data.name, own.data.dir)
    if not is_moved or data_settings.evaluated_split(c) != data_settings.evaluated_split(own):
        return False
    facts = record.read(saved_steps.last_checkpoint(workdir)).run.facts
    # An imported net has no fingerprints.
    return bool(facts.val_fingerprint) and facts.val_fingerprint != source.fingerprint
