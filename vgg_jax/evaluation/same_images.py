"""Images that are the same under the same names, in whatever order, form and folder they lie."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# After the folder of its class, which data.name=folder has in front.
_ILSVRC = re.compile(r"(?:n\d{8}/)?(n\d{8}_\d+\.\w+|ILSVRC2012_(?:val|test)_\d{8}\.\w+)")


def order_of(names: Sequence[str], wanted: Sequence[str]) -> Int[np.ndarray, " n"] | None:
    """Returns the indices that put names into another order.

    The names of ILSVRC's images count as the same with the folder of their class and without it.

    Args:
      names: The names of some images.
      wanted: The names in the other order.

    Returns:
      names[indices[i]] is wanted[i]. None if a name occurs twice, or the names aren't the same.
    """
    index_of = {_without_folder(name): index for index, name in enumerate(names)}
    wanted = [*map(_without_folder, wanted)]
    if len(index_of) < len(names) or len(names) != len(wanted) or index_of.keys() != {*wanted}:
        return None
    return np.array([index_of[name] for name in wanted], np.intp)


def are_ilsvrcs(names: Sequence[str]) -> bool:
    """Returns whether names are those that ILSVRC's owners gave its images.

    Each of these names stands for one image, and all forms of ImageNet keep them. So the names say
    which images there are, though the fingerprints of class folders, parquet shards and TFDS's
    files differ: they depend on the order of the images and on what else a form knows of them.
    """
    return all(map(_ILSVRC.fullmatch, names))


def _without_folder(name: str) -> str:
    found = _ILSVRC.fullmatch(name)
    return found[1] if found else name
