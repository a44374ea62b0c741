"""The classes of a parquet set, and the names that ILSVRC's images have in their other forms.

The Hub's ImageNet names its classes by words, and the images of its labelled splits by their file
and their synset: n01440764_10026_n01440764.JPEG.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from vgg_jax.data.imagenet import classes

_SYNSET = r"_(?P<synset>n\d{8})\.\w+$"
_SYNSET_AND_SUFFIX = r"_n\d{8}(\.\w+)$"
_ENOUGH = 0.9  # This fraction of ILSVRC's classes has the same words in the Hub's sets.


def listed(metadata: Mapping[bytes, bytes]) -> tuple[str, ...] | None:
    """Returns the class names that the Hub keeps in a schema's metadata; None without them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(map(str, features["label"]["names"]))
    except (LookupError, TypeError, ValueError):
        return None


def are_ilsvrc(names: tuple[str, ...] | None, paths: Any) -> bool:
    """Returns whether classes are ILSVRC's, by their words, or if they have none by the paths.

    Args:
      names: The names of the classes, or None.
      paths: The column image.path of the labelled images.
    """
    if names is None:
        return len(paths) > 0 and bool(_synset_labels(paths).min() >= 0)
    words = classes.words()
    if len(names) != len(words):
        return False
    same = [
        _first(name) in (synset, _first(text))
        for name, (synset, text) in zip(names, words.items(), strict=True)
    ]
    return sum(same) >= _ENOUGH * len(same)


def contradicting(paths: Any, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Returns the indices of the images of ILSVRC whose path has another class than their label."""
    from_paths = _synset_labels(paths)
    return np.flatnonzero((from_paths >= 0) & (from_paths != labels))


def without_synsets(paths: Any) -> Any:
    """Returns the paths of ILSVRC's images without the synset before the suffix."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(paths, _SYNSET_AND_SUFFIX, r"\1")


def _synset_labels(paths: Any) -> Int[np.ndarray, " n"]:
    """Returns the labels of the synsets at the end of paths; -1 where there is none of ILSVRC's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    synsets = pc.struct_field(pc.extract_regex(paths, _SYNSET), "synset")
    found = pc.index_in(synsets, value_set=pa.array(classes.synsets(), synsets.type))
    return found.fill_null(-1).to_numpy().astype(np.int64)


def _first(words: str) -> str:
    """Returns the first of several words for a class: "tench" of "tench, Tinca tinca"."""
    return words.partition(",")[0].partition(" (")[0].strip().lower()
