"""Opens and scans the images that a config names, alike on all processes of a job."""

from ml_collections import ConfigDict

from vgg_jax.data import scan, settings
from vgg_jax.data.source import Source
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.system import processes


def train_and_val(c: ConfigDict) -> scan.Checked:
    """Returns what a run trains on and validates on.

    Raises:
      UserError: See `splits.open_sources` and `scan.check`; or the processes see other images, or
        the classes aren't as many as the config says.
    """
    train_source, val_source = processes.first_then_others(
        lambda: open_sources(**settings.source_arguments(c))
    )
    settings.resolve_num_classes(c.num_classes, train_source.class_names)
    for split, source in (("training", train_source), ("validation", val_source)):
        processes.refuse_different(f"{split} images", source.fingerprint)
    return scan.check(
        train_source, val_source, **settings.scan_arguments(c), once=processes.from_first
    )


def val_source(c: ConfigDict) -> Source:
    """Returns what is evaluated, not scanned yet.

    Raises:
      UserError: See `splits.open_val_source`; or the processes see other images.
    """
    source = processes.first_then_others(lambda: open_val_source(**settings.source_arguments(c)))
    processes.refuse_different("images", source.fingerprint)
    return source


def scanned(c: ConfigDict, source: Source) -> scan.Images:
    """Scans what is evaluated.

    Raises:
      UserError: See `scan.check_one`.
    """
    return scan.check_one(
        source, name=settings.split(c), **settings.scan_arguments(c), once=processes.from_first
    )
