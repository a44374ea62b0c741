"""The file that keeps descriptors of images."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from vgg_jax.data.source import Source
from vgg_jax.errors import require
from vgg_jax.storage import files
from vgg_jax.storage.files import Path


def refuse_unusable(path: Path) -> None:
    """Checks that a file can be written, and that none of its name exists.

    Raises:
      UserError: The file exists, or its folder can't be written to.
    """
    require(not path.exists(), f"{path} exists. Remove it, or give another --out=FILE.npz.")
    files.refuse_unwritable(path.parent, "Give another --out=FILE.npz.")


def save(
    path: Path, values: Float32[np.ndarray, "n d"], source: Source, made_by: Mapping[str, Any]
) -> None:
    """Writes descriptors as a NumPy archive, which needs no pickle.

    Its arrays are `descriptors` (n, d), `names` (n,), `labels` (n,), where -1 means unlabelled,
    `class_names`, in the order of the labels, and `made_by`, which is JSON.

    Args:
      path: The path of the file.
      values: A descriptor per image.
      source: The images.
      made_by: Plain values that say how the descriptors were made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    indices = range(len(source))
    with files.written_aside(path) as aside, aside.open("wb") as file:
        np.savez(
            file,
            descriptors=values,
            names=np.array([source.name(i) for i in indices]),
            labels=np.array([source.label(i) for i in indices], np.int32),
            class_names=np.array(source.class_names, np.str_),
            made_by=np.array(json.dumps(made_by)),
        )
