"""Net E, trained at S = 384.

    python -m vgg_jax.main --config=configs/e_384.py

Reproduces Table 3, S = 384, Q = 384: expect a dense top-1 error of 26.9%, top-5 8.7%.
Starts from all layers of runs/e_256, at a tenth of the learning rate.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net E, trained at S = 384."""
    c = base_config.get_config()
    c.name = "e_384"
    c.net = "E"
    c.train_scale = (384, 384)
    c.val_scale = 384
    c.init_from = "e_256"
    c.learning_rate = 1e-3
    return c
