"""A miniature on the embedded data set: 80 seconds on two CPU cores.

    python -m vgg_jax.main --config=configs/quickstart.py

Reproduces no row of the paper: it shows that everything works. Starts from He's initialisation;
expect a top-1 error of 20 to 40% (chance is 90%).
"""

import pathlib

from ml_collections import ConfigDict

from vgg_jax.runs import config_files


def get_config() -> ConfigDict:
    """Returns the config of net A, shrunk by `configs/mini.py`, with fewer epochs."""
    mini = config_files.load(pathlib.Path(__file__).with_name("mini.py"))
    c = mini.get_config("a_256")
    c.name = "quickstart"
    c.num_epochs = 14
    return c
