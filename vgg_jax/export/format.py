"""The type of a format of exported files."""

import dataclasses
import pathlib
from collections.abc import Callable

from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export.options import Options


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
      suffix: The end of the names of its files, for example ".onnx".
      refuse: Takes a net and the options. Raises a UserError that names what the format can't hold.
      write: Takes a net that `refuse` has passed, a path on a disk and the options. The path may
        end with another suffix.
      note: Takes the same as `refuse`. Returns a sentence about what the file doesn't hold, or "".
      options: The names of the `Options` that it has.
      package: The package of the extra `weights` that it needs; None if it needs none.
    """

    suffix: str
    refuse: Callable[[TrainedNet, Options], None]
    write: Callable[[TrainedNet, pathlib.Path, Options], None]
    note: Callable[[TrainedNet, Options], str] = lambda net, options: ""
    options: tuple[str, ...] = ()
    package: str | None = None


def refuse_without_fc_layers(net: TrainedNet, options: Options) -> None:
    """Checks that a net has FC layers, which an imported one may lack.

    Raises:
      UserError: It has none.
    """
    del options
    net.inference.require_fc_layers()
