"""The classes and the labels with which a result's errors are computed from its posteriors."""

import dataclasses
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from vgg_jax import safe_text
from vgg_jax.errors import require
from vgg_jax.evaluation import right_labels
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.storage import files

Classes = Literal["all", "present"]

# Parts of a result's file name that have a meaning already.
_TAKEN = ("present", "last", "best", "floor", "ceil", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Restriction:
    """The classes and the labels that count for a result. The files of posteriors keep all.

    Attributes:
      classes: "all" of the net's classes; or "present", those of the images' labels, to which
        posteriors are restricted and renormalised after all averages.
      labels: A JSON file with several right labels per image: see `right_labels.read`; "" for each
        image's own label.
    """

    classes: Classes = "all"
    labels: str = ""

    @property
    def name(self) -> str:
        """The part of the result's file name: "present", the labels' file name, or ""."""
        if self.labels:
            return safe_text.file_part(files.path(self.labels).stem)
        return "present" if self.classes == "present" else ""

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Restriction":
        """Returns the choice of a config's evaluation."""
        return cls(c.eval.classes, c.eval.labels)

    def check_choice(self) -> None:
        """Checks what can be checked without images.

        Raises:
          UserError: The file of labels isn't there or has a name with another meaning, or both
            restrictions are given.
        """
        require(
            not self.labels or self.classes == "all",
            f"The labels of {self.labels} may be of classes that are not present. Count all "
            "classes, or leave the file out.",
        )
        require(
            not self.labels or files.path(self.labels).is_file(),
            f"There is no file {self.labels}. The labels are a JSON file with a list of class "
            "indices per image.",
        )
        require(
            not self.labels or self.name not in _TAKEN,
            f"Results are named after the file of labels, and {self.name} in their names means "
            f"something else. Rename {self.labels}.",
        )

    def check(
        self, names: tuple[str, ...], labels: Int32[np.ndarray, " n"], num_classes: int
    ) -> None:
        """Checks that it can be applied to the posteriors of some images.

        Args:
          names: The images' names.
          labels: Their class indices; -1 for unlabelled images.
          num_classes: The number of the net's classes.

        Raises:
          UserError: Images have no label, or all have the same; or see `right_labels.read`.
        """
        if self.labels:
            right_labels.read(files.path(self.labels), names, num_classes)
        if self.classes == "present":
            require(
                bool((labels >= 0).all()),
                "The images have no labels, which say what classes are present. Count all classes "
                "instead: eval.classes=all.",
            )
            require(
                len(np.unique(labels)) > 1,
                "Only one class is present, so there is nothing to tell apart. Count all classes "
                "instead: eval.classes=all.",
            )

    def applied(self, posteriors: Posteriors) -> tuple[Posteriors, str, dict[str, Any]]:
        """Restricts posteriors that have been averaged.

        Returns:
          The posteriors, and what was restricted: the end of a title, and entries for JSON.

        Raises:
          UserError: See `check`.
        """
        if self.labels:
            path = files.path(self.labels)
            labels = right_labels.read(path, posteriors.names, len(posteriors.class_names))
            found = right_labels.applied(posteriors, labels)
            counts = f"{len(found.names):,} of {len(posteriors.names):,} images"
            facts = {"labels": str(path), "labels_sha256": labels.sha256}
            return found, f", labels of {path.name} for {counts}", facts
        if self.classes == "present":
            self.check(posteriors.names, posteriors.labels, len(posteriors.class_names))
            found = _present(posteriors)
            count = len(found.class_names)
            return (
                found,
                f", {count:,} present classes",
                {"classes": "present", "num_classes": count},
            )
        return posteriors, "", {}


def _present(posteriors: Posteriors) -> Posteriors:
    """Restricts labelled posteriors to the classes of the labels, and renormalises them."""
    present = np.unique(posteriors.labels)
    values = posteriors.values[:, present].astype(np.float64, copy=False)
    sums = values.sum(axis=1, keepdims=True)
    # Probabilities that have all underflowed to 0 stay 0.
    np.divide(values, sums, out=values, where=sums > 0)
    return dataclasses.replace(
        posteriors,
        labels=np.searchsorted(present, posteriors.labels).astype(np.int32),
        class_names=tuple(posteriors.class_names[k] for k in present),
        values=values,
    )
