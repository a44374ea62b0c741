"""Opens sources for tests."""

from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec


def folder(directory, split):
    """Opens a split of a folder of class folders."""
    return FolderSource(DataSpec("folder", str(directory), "train", "", cache_dir=""), split)
