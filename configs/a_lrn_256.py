"""Net A-LRN, trained at S = 256.

    python -m vgg_jax.main --config=configs/a_lrn_256.py

Reproduces Table 3, S = 256, Q = 256: expect a dense top-1 error of 29.7%, top-5 10.5%.
Starts from random weights.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net A-LRN, trained at S = 256."""
    c = base_config.get_config()
    c.name = "a_lrn_256"
    c.net = "A-LRN"
    return c
