"""The net that a config describes."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from vgg_jax.nets.settings import ARCHITECTURE_KEYS
from vgg_jax.nets.vgg import VGG


def model(c: ConfigDict, num_classes: int) -> VGG:
    """Builds the net that a config describes, with the data set's number of classes.

    `settings.ARCHITECTURE_KEYS` are the keys that must agree with those of a checkpoint.
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
