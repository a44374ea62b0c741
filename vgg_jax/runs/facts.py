"""The facts of a run that hold from its first step to its last."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vgg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """The facts of a run that each of its checkpoints holds, whatever its step.

    Attributes:
      class_names: The names of the classes, in the order of the labels.
      train_fingerprint, val_fingerprint: Hashes of the images' index: see `source.Source`.
      mean_rgb: The mean that is subtracted from the pixels, 0-255.
      commits: The git commits of this code that trained the run, in order.
    """

    class_names: tuple[str, ...]
    train_fingerprint: str
    val_fingerprint: str
    mean_rgb: tuple[float, float, float]
    commits: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunFacts":
        """Inverts `to_json`; other keys of `values` are ignored."""
        return cls(
            tuple(values["class_names"]),
            values["train_fingerprint"],
            values["val_fingerprint"],
            tuple(values["mean_rgb"]),
            tuple(values.get("commits", ())),  # Early checkpoints have none.
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as plain values."""
        return dataclasses.asdict(self)

    def continued(self, now: "RunFacts") -> "RunFacts":
        """Returns the facts of this run as it goes on: its own mean, and the current commit added.

        Args:
          now: The facts of a run that would begin now.

        Raises:
          UserError: The classes or the images have changed since the run began.
        """
        for what, then, today in (
            ("classes", self.class_names, now.class_names),
            ("training images", self.train_fingerprint, now.train_fingerprint),
            ("validation images", self.val_fingerprint, now.val_fingerprint),
        ):
            if then != today:
                raise UserError(
                    f"The {what} are not those that this run began with: some were added, removed, "
                    "repaired or renamed, or they lie in another form (parquet, TFDS and image "
                    "files have orders of their own). Restore them, or start a new run from this "
                    "one: --workdir=NEW --config.init_from=THIS --config.init_layers=all."
                )
        commits = tuple(dict.fromkeys((*self.commits, *now.commits)))
        return dataclasses.replace(self, commits=commits)
