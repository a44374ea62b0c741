"""Net D, trained at S in [256; 512].

    python -m vgg_jax.main --config=configs/d_multiscale.py

Reproduces Table 3, S in [256; 512], Q = 384: expect a dense top-1 error of 25.6%, top-5 8.1%.
Starts from all layers of runs/d_384, at a tenth of the learning rate.
"""

from ml_collections import ConfigDict

from vgg_jax import base_config


def get_config() -> ConfigDict:
    """Returns the config of net D, trained at S in [256; 512]."""
    c = base_config.get_config()
    c.name = "d_multiscale"
    c.net = "D"
    c.train_scale = (256, 512)
    c.val_scale = 384
    c.init_from = "d_384"
    c.learning_rate = 1e-3
    return c
