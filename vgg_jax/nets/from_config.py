"""The net that a config describes."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from vgg_jax.nets.settings import ARCHITECTURE_KEYS
from vgg_jax.nets.vgg import VGG


def model(c: ConfigDict, num_classes: int) -> VGG:
    """Builds the net that a config describes.

    `settings.ARCHITECTURE_KEYS` are the keys that must agree with those of a checkpoint.

    Args:
      c: The config.
      num_classes: The outputs of FC8; 0 for an imported net without FC layers, whose FC8 has one
        output and no parameters.
    """
    return VGG(
        **{key: c[key] for key in ARCHITECTURE_KEYS},
        num_classes=num_classes or 1,
        dropout=c.dropout,
        kernel_init=c.init,
        sigma=c.init_sigma,
        dtype=jnp.dtype(c.dtype),
        remat=c.remat,
    )
