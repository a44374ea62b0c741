"""The config of the run in a workdir, as a config file: --config=.../saved_config.py:WORKDIR."""

from ml_collections import ConfigDict

from vgg_jax.runs import run_config
from vgg_jax.storage import files


def get_config(workdir: str) -> ConfigDict:
    """Reads the config of the run in a workdir."""
    return run_config.load(files.path(workdir))
