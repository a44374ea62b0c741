"""Checks a config with the checks of all packages. Needs no JAX and no data."""

from ml_collections import ConfigDict

from vgg_jax.data import settings as data
from vgg_jax.evaluation import settings as evaluation
from vgg_jax.nets import settings as nets
from vgg_jax.training import settings as training


def validate(c: ConfigDict) -> None:
    """Checks everything that can be checked without data and devices.

    Raises:
      UserError: A value is impossible; the message names the key and what to change.
    """
    for settings in (nets, training, data, evaluation):
        settings.check(c)
