"""Net A, trained at S = 256.

    python -m vgg_jax.main --config=configs/a_256.py

Reproduces Table 3, S = 256, Q = 256: expect a dense top-1 error of 29.6%, top-5 10.4%.
Starts from random weights.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net A, trained at S = 256."""
    c = base_config.get_config()
    c.name = "a_256"
    c.net = "A"
    return c
