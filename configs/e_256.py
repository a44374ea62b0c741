"""Net E, trained at S = 256.

    python -m vgg_jax.main --config=configs/e_256.py

Reproduces Table 3, S = 256, Q = 256: expect a dense top-1 error of 27.3%, top-5 9.0%.
Starts from the first four convolutions and the FC layers of runs/a_256.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net E, trained at S = 256."""
    c = base_config.get_config()
    c.name = "e_256"
    c.net = "E"
    c.init_from = "a_256"
    c.init_layers = "preinit"
    return c
