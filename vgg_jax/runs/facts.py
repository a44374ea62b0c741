"""What a run is made of from its first step to its last."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vgg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What every checkpoint of a run says of it, whatever its step.

    Attributes:
      class_names: By label.
      train_fingerprint, val_fingerprint: Hashes of the images' index: see `source.Source`.
      mean_rgb: 0-255, subtracted from the pixels.
      commits: The git commits of this code that trained it, in order.
    """

    class_names: tuple[str, ...]
    train_fingerprint: str
    val_fingerprint: str
    mean_rgb: tuple[float, float, float]
    commits: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunFacts":
        """Inverts `to_json`; of what else `values` holds nothing is taken."""
        return cls(
            tuple(values["class_names"]),
            values["train_fingerprint"],
            values["val_fingerprint"],
            tuple(values["mean_rgb"]),
            tuple(values.get("commits", ())),  # The first checkpoints had none.
        )

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return dataclasses.asdict(self)

    def continued(self, now: "RunFacts") -> "RunFacts":
        """Returns the facts of this run as it goes on: with its own mean, and one commit more.

        Args:
          now: What a run that begins now would be made of.

        Raises:
          UserError: The classes or the images have changed since.
        """
        for what, then, today in (
            ("classes", self.class_names, now.class_names),
            ("training images", self.train_fingerprint, now.train_fingerprint),
            ("validation images", self.val_fingerprint, now.val_fingerprint),
        ):
            if then != today:
                raise UserError(
                    f"The {what} are not those that this run began with. Bring the data set back "
                    "to what it was, or choose another --workdir."
                )
        commits = tuple(dict.fromkeys((*self.commits, *now.commits)))
        return dataclasses.replace(self, commits=commits)
