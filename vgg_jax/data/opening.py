"""Opens and scans the images that a config names, the same on all processes of a job."""

from ml_collections import ConfigDict

from vgg_jax.data import decodable, decode_budget, settings
from vgg_jax.data.decodable import SizedImages, TrainingSplits
from vgg_jax.data.source import Source
from vgg_jax.data.sources import folder
from vgg_jax.data.splits import open_sources, open_val_source
from vgg_jax.system import processes


def for_training(c: ConfigDict) -> TrainingSplits:
    """Opens and scans the training and the validation split of a run.

    Raises:
      UserError: See `splits.open_sources` and `decodable.training_splits`; or the processes see
        different images; or the number of classes isn't the config's.
    """
    decode_budget.set_bytes(c.data.decode_bytes)
    train_source, val_source = processes.first_then_others(
        lambda: open_sources(settings.data_spec(c))
    )
    settings.resolve_num_classes(c.num_classes, train_source.class_names)
    for split, source in (("training", train_source), ("validation", val_source)):
        processes.refuse_different(f"{split} images", source.fingerprint)
    return decodable.training_splits(train_source, val_source, settings.scan_options(c))


def for_evaluation(c: ConfigDict) -> Source:
    """Opens the split to evaluate, without scanning it.

    Raises:
      UserError: See `splits.open_val_source`; or the processes see different images.
    """
    decode_budget.set_bytes(c.data.decode_bytes)
    source = processes.first_then_others(lambda: open_val_source(settings.data_spec(c)))
    processes.refuse_different("images", source.fingerprint)
    return source


def scanned(c: ConfigDict, source: Source) -> SizedImages:
    """Scans the split to evaluate.

    Raises:
      UserError: See `decodable.one_split`.
    """
    is_whole = settings.is_whole_folder(c, source)
    name = folder.set_name(c.data.dir) if is_whole else settings.evaluated_split(c)
    return decodable.one_split(source, name, settings.scan_options(c))
