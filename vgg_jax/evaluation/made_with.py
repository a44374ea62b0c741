"""The devices and the software that computed values, for the files that keep them."""

import jax

from vgg_jax import __version__
from vgg_jax.system import git_commit


def facts() -> dict[str, str]:
    """Returns the devices, the versions of JAX and of this package, and its commit."""
    return {
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "vgg_jax": __version__,
        "commit": git_commit.commit(),
    }
