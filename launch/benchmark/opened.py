"""Opens the images that --data and --data_name name."""

from vgg_jax import base_config
from vgg_jax.data import sources
from vgg_jax.data.pooled import open_images
from vgg_jax.data.source import Source
from vgg_jax.data.specs import DataSpec

_DEFAULTS = base_config.get_config().data


def open_data(where: str, name: str | None) -> Source:
    """Opens a folder of class folders, a CSV file, or a training split.

    Args:
      where: The folder or FILE.csv; with a name, the data.dir of a config.
      name: The data.name of a config, whose training split is opened, for example imagenet. None
        for the images of a folder of class folders or of a CSV file.

    Raises:
      UserError: The images can't be opened; the message says what to do.
    """
    if name is None:
        return open_images(where)
    split = _DEFAULTS.train_split
    return sources.open_split(DataSpec(name, where, split, "", _DEFAULTS.cache_dir), split)
