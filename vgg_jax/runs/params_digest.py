"""One digest of a checkpoint's parameters, by which files name what they were made from.

This module needs no JAX.
"""

from vgg_jax.storage import sealed_json
from vgg_jax.storage.files import Path


def of_checkpoint(checkpoint: Path) -> str:
    """Returns the digest of the parameters in a checkpoint, given by its folder STEP.

    It is "" if an earlier version saved the checkpoint, or if its file of digests can't be read.
    """
    try:
        digests = sealed_json.load(checkpoint / "run" / "metadata")["digests"]["params"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return sealed_json.digest(digests)
