"""The names of images, and their labels as classes of the net that is evaluated on them."""

import numpy as np
from jaxtyping import Int32

from vgg_jax.counted import counted
from vgg_jax.data.source import Source
from vgg_jax.errors import UserError
from vgg_jax.evaluation import class_match
from vgg_jax.evaluation.class_match import MatchedClasses
from vgg_jax.storage.files import Path


def match(source: Source, class_names: tuple[str, ...], workdir: Path) -> MatchedClasses | None:
    """Finds the net's class for each label; returns None if labels are the same or there are none.

    Args:
      source: The images.
      class_names: The names of the net's classes.
      workdir: The run's folder, for messages.

    Raises:
      UserError: See `class_match.match`.
    """
    if source.class_names in ((), class_names):
        return None
    return class_match.match(source.class_names, class_names, f"the net in {workdir}")


def names_and_labels(
    source: Source, matched: MatchedClasses | None
) -> tuple[tuple[str, ...], Int32[np.ndarray, " n"]]:
    """Returns the images' names, and their classes of the net; -1 for images without labels.

    Raises:
      UserError: Only some images are labelled.
    """
    indices = range(len(source))
    labels = np.array([source.label(i) for i in indices], np.int32)
    unlabelled = int((labels < 0).sum())
    if 0 < unlabelled < len(labels):
        raise UserError(
            f"{unlabelled:,} of {len(labels):,} images have no label. Evaluate labelled and "
            "unlabelled images as two splits."
        )
    if matched is not None:
        labels = matched.indices[labels]
    return tuple(source.name(i) for i in indices), labels


def summary(source: Source, num_classes: int, matched: MatchedClasses | None) -> str:
    """Returns which of the net's classes the images have, in a few words for people."""
    of = f"the net's {counted(num_classes, 'classes', 'class')}"
    if matched is not None:
        return f"{len(source.class_names):,} of {of}, {matched.how}"
    return of if source.class_names else "images without labels"
