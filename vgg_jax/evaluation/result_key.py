"""The key that names a result's files: its images, method, scales and settings."""

import dataclasses
import itertools
from typing import get_args

from ml_collections import ConfigDict

from vgg_jax import safe_text
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.restriction import Restriction
from vgg_jax.nets.architectures import DType
from vgg_jax.nets.settings import OddEdges
from vgg_jax.runs import saved_steps
from vgg_jax.storage.files import Path

FOLDER = "eval"  # In a workdir.


@dataclasses.dataclass(frozen=True)
class Variant:
    """The settings of an evaluation. Its files' names contain those that aren't standard.

    Attributes:
      checkpoint: "last", or "best" for the checkpoint with the least validation error.
      pooling: See `vgg.VGG`.
      dtype: The dtype of the arithmetic.
    """

    checkpoint: saved_steps.Which = "last"
    pooling: OddEdges = "floor"
    dtype: DType = "float32"

    @property
    def name(self) -> str:
        """The values that aren't standard, for example "best-ceil"; "" if all are standard."""
        standard = dataclasses.astuple(Variant())
        pairs = zip(dataclasses.astuple(self), standard, strict=True)
        return "-".join(value for value, usual in pairs if value != usual)

    def beside(self, method: str) -> str:
        """Returns a method with what isn't standard, for example "dense (best-ceil)"."""
        return f"{method} ({self.name})" if self.name else method

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Variant":
        """Returns the settings of a config's evaluation."""
        return cls(c.eval.checkpoint, c.eval.pooling, c.eval.dtype)

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Returns the variant that has a name.

        Raises:
          UserError: There is no variant of this name.
        """
        choices = map(get_args, (saved_steps.Which, OddEdges, DType))
        variants = [cls(*values) for values in itertools.product(*choices)]
        for variant in variants:
            if variant.name == name:
                return variant
        longest = max((variant.name for variant in variants), key=len)
        raise UserError(
            f"There is no variant {name}. Join some of {longest.replace('-', ', ')} with hyphens, "
            "in this order."
        )


@dataclasses.dataclass(frozen=True)
class ResultKey:
    """The key that names the files of a result in a workdir.

    Attributes:
      split: The split of the images, or the name of another set: see `set_name.of`.
      method: See `methods.check`.
      scales: The test scales Q in px, whose posteriors are averaged.
      variant: The settings of the evaluation.
      restriction: The classes and labels that count. Posteriors don't depend on it.
    """

    split: str
    method: str
    scales: tuple[int, ...]
    variant: Variant = Variant()
    restriction: Restriction = Restriction()

    @classmethod
    def from_config(cls, c: ConfigDict) -> "ResultKey":
        """Returns the key of the result of a config's evaluation of a split of the run."""
        return cls(
            data_settings.evaluated_split(c),
            c.eval.method,
            evaluation_settings.test_scales(c),
            Variant.from_config(c),
            Restriction.from_config(c),
        )

    @property
    def images_name(self) -> str:
        """The images and the restriction, for example "imagenet-a-present"."""
        return "-".join(filter(None, (self._safe_split, self.restriction.name)))

    @property
    def _safe_split(self) -> str:
        return safe_text.file_part(self.split, "._-")

    @property
    def _joined_scales(self) -> str:
        return "_".join(map(str, self.scales))

    def posteriors_name(self, scales: str) -> str:
        """Returns the posteriors' name without suffix, for example "val-dense-256-ceil".

        Args:
          scales: The text in place of the scales; "" for none.
        """
        method = self.method.replace(":", "@")  # A user's own is MODULE:NAME.
        return "-".join(filter(None, (self._safe_split, method, scales, self.variant.name)))

    def result_name(self, scales: str) -> str:
        """Returns the result's name without suffix: that of the posteriors, and the restriction."""
        return "-".join(filter(None, (self.posteriors_name(scales), self.restriction.name)))

    def posteriors_path(self, workdir: Path) -> Path:
        """Returns the path of the posteriors of a key with one method and one Q."""
        return workdir / FOLDER / f"{self.posteriors_name(self._joined_scales)}.npz"

    def posteriors_of_split(self, workdir: Path) -> list[Path]:
        """Returns the posteriors whose names begin with the split, be they of "val" or "val-b"."""
        return sorted((workdir / FOLDER).glob(f"{self._safe_split}-*.npz"))

    def result_path(self, workdir: Path) -> Path:
        """Returns the path of the result."""
        return workdir / FOLDER / f"{self.result_name(self._joined_scales)}.json"

    def by_method(self) -> dict[str, "ResultKey"]:
        """Returns the key of each single method that the method averages, at the same scales."""
        return {
            single: dataclasses.replace(self, method=single)
            for single in methods.singles(self.method)
        }

    def by_scale(self) -> dict[int, "ResultKey"]:
        """Returns the key of each single scale."""
        return {scale: dataclasses.replace(self, scales=(scale,)) for scale in self.scales}
