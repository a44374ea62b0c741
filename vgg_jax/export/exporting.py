"""Exports a trained net as a file, whose format follows from its suffix."""

import dataclasses
import hashlib

import jax.numpy as jnp

from vgg_jax.errors import UserError, require
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export.format import Format
from vgg_jax.export.options import Options
from vgg_jax.foreign.optional_package import require_package
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import by_name


@dataclasses.dataclass(frozen=True)
class Writer:
    """A writer of one file: see `writer`.

    Attributes:
      path: The file.
      format: Its format.
      options: The options, which the format has.
    """

    path: Path
    format: Format
    options: Options

    def refuse(self, net: TrainedNet) -> None:
        """Checks that the file can hold a net, of which `loading.outline` is enough.

        Raises:
          UserError: The format or the layout can't hold the net; the message names the reason.
        """
        require(
            net.model.dtype == jnp.float32,
            f"The net computes in {jnp.dtype(net.model.dtype)}, and exported files hold float32. "
            "Load it with dtype='float32'.",
        )
        self.format.refuse(net, self.options)

    def write(self, net: TrainedNet) -> str:
        """Writes a net. The file appears at once with all its contents, or not at all.

        Returns:
          A sentence about what the file doesn't hold; "" if it holds all.

        Raises:
          UserError: The file exists with other contents, or see `refuse`.
        """
        self.refuse(net)
        with files.written_aside(self.path) as aside:
            self.format.write(net, aside, self.options)
            require(
                not self.path.exists() or _digest(self.path) == _digest(aside),
                f"{self.path} exists with other contents, and is not overwritten. Choose another "
                "file, or remove it.",
            )
        return self.format.note(net, self.options)


def writer(path: Path, options: Options) -> Writer:
    """Returns the writer of a file. It checks all that can be checked without a net.

    Args:
      path: The file, on a disk or in a bucket.
      options: The user's choices.

    Raises:
      UserError: The suffix is unknown, the file's folder doesn't exist or can't be written to, the
        format lacks a given option, or a package is missing.
    """
    formats = [module.FORMAT for module in by_name.modules(f"{__package__}.formats")]
    found = next((one for one in formats if path.name.endswith(one.suffix)), None)
    if found is None:
        suffixes = ", ".join(one.suffix for one in formats)
        raise UserError(f"{path} has no suffix of an exported file. Choose one of {suffixes}.")
    for name, value in dataclasses.asdict(options).items():
        suffixes = " and ".join(one.suffix for one in formats if name in one.options)
        require(
            value is None or name in found.options,
            f"--{name}={value} is for {suffixes} files only. Leave it out for {path}.",
        )
    require(not path.is_dir(), f"{path} is a folder. Choose another name for the file.")
    require(
        files.in_bucket(path) or path.parent.is_dir(),
        f"There is no folder {path.parent}. Make it, or choose another file.",
    )
    files.refuse_unwritable(path.parent)
    if found.package is not None:
        require_package(found.package, path, "written")
    return Writer(path, found, options)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
