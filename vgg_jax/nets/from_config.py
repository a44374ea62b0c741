"""The net that a config describes."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from vgg_jax.nets.settings import ARCHITECTURE_KEYS
from vgg_jax.nets.vgg import VGG


def model(c: ConfigDict, num_classes: int) -> VGG:
    """Builds the net that a config describes, with as many classes as the data set has.

    The keys that a checkpoint must agree with are `settings.ARCHITECTURE_KEYS`.
    """
    return VGG(
        **{key: c[key] for key in ARCHITECTURE_KEYS},
        num_classes=num_classes,
        dropout=c.dropout,
        kernel_init=c.init,
        sigma=c.init_sigma,
        dtype=jnp.dtype(c.dtype),
        remat=c.remat,
    )
