"""What names the files of a result: the split, the method, the scales and the settings."""

import dataclasses
import itertools
from typing import get_args

from ml_collections import ConfigDict

from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.evaluation import methods
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.nets.architectures import DType
from vgg_jax.nets.settings import OddEdges
from vgg_jax.runs import saved_steps
from vgg_jax.storage.files import Path

FOLDER = "eval"  # Below a workdir.


@dataclasses.dataclass(frozen=True)
class Variant:
    """The settings of an evaluation that tell its files from the standard ones.

    Attributes:
      checkpoint: The last, or the one with the least validation error.
      pooling: See `vgg.VGG`.
      dtype: The arithmetic's.
    """

    checkpoint: saved_steps.Which = "last"
    pooling: OddEdges = "floor"
    dtype: DType = "float32"

    @property
    def name(self) -> str:
        """The values that aren't the standard ones: "", or "best-ceil"."""
        standard = dataclasses.astuple(Variant())
        pairs = zip(dataclasses.astuple(self), standard, strict=True)
        return "-".join(value for value, usual in pairs if value != usual)

    @classmethod
    def from_config(cls, c: ConfigDict) -> "Variant":
        """Returns the variant that a config's evaluation is."""
        return cls(c.eval.checkpoint, c.eval.pooling, c.eval.dtype)

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Returns the variant of a name.

        Raises:
          UserError: There is none.
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
    """What names the files of a result in a workdir.

    Attributes:
      split: The images' split.
      method: See `methods.check`.
      scales: Q, px, whose posteriors are averaged.
      variant: The settings.
    """

    split: str
    method: str
    scales: tuple[int, ...]
    variant: Variant = Variant()

    @classmethod
    def from_config(cls, c: ConfigDict) -> "ResultKey":
        """Returns the key of what a config's evaluation makes."""
        return cls(
            data_settings.evaluated_split(c),
            c.eval.method,
            evaluation_settings.test_scales(c),
            Variant.from_config(c),
        )

    @property
    def stem(self) -> str:
        """The files' name: "val-dense-256_384_512-ceil"."""
        return self.stem_with("_".join(map(str, self.scales)))

    def stem_with(self, middle: str) -> str:
        """Returns a name with something else in the place of the scales."""
        split, method = (
            "".join(c if c.isalnum() or c in "._" else "_" for c in name)
            for name in (self.split, self.method)
        )
        return "-".join(filter(None, (split, method, middle, self.variant.name)))

    def path(self, workdir: Path, suffix: str = ".json") -> Path:
        """Returns where a run keeps a result, or with ".npz" the posteriors of one method and Q."""
        return workdir / FOLDER / f"{self.stem}{suffix}"

    def lock_path(self, workdir: Path) -> Path:
        """Returns the file that whoever evaluates by the method locks, whatever the scales."""
        return workdir / FOLDER / f".{self.stem_with('lock')}"

    def by_method(self) -> dict[str, "ResultKey"]:
        """Returns the keys of the single methods that the method averages, at the same scales."""
        return {
            single: dataclasses.replace(self, method=single)
            for single in methods.singles(self.method)
        }

    def by_scale(self) -> dict[int, "ResultKey"]:
        """Returns the keys of the single scales."""
        return {scale: dataclasses.replace(self, scales=(scale,)) for scale in self.scales}
