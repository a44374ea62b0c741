"""Net B-5x5, trained at S = 256.

    python -m vgg_jax.main --config=configs/b_5x5_256.py

Reproduces §4.1's comparison: B with each pair of 3x3 convolutions replaced by one 5x5;
expect a top-1 error 7 points above that of b_256 on the centre crop.
Starts from the FC layers of runs/a_256, because no convolution of A has a 5x5 kernel.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net B-5x5, trained at S = 256."""
    c = base_config.get_config()
    c.name = "b_5x5_256"
    c.net = "B-5x5"
    c.init_from = "a_256"
    c.init_layers = "preinit"
    return c
