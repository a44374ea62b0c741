"""Kinds of source, each a file of its own that ends in a `KIND`.

A new one is a file here and a line in `KINDS`. Which splits of a source are trained and validated
on, `splits` says.
"""

from vgg_jax.data.source import SourceKind
from vgg_jax.data.sources import embedded, folder, tfds

# What data.name names; any other name is a TFDS data set's.
KINDS: dict[str, SourceKind] = {"folder": folder.KIND, "shapes": embedded.KIND}


def kind(name: str) -> SourceKind:
    """Returns the kind of source that a data.name means."""
    return KINDS.get(name, tfds.KIND)
