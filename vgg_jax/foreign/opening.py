"""Opens a weight file: finds its format by its contents, and its layout by its names."""

import pathlib

from vgg_jax.errors import UserError, some_of
from vgg_jax.foreign import not_weights
from vgg_jax.foreign.file_errors import naming
from vgg_jax.foreign.net import ForeignNet
from vgg_jax.foreign.tensors import Tensors
from vgg_jax.system import by_name

HEAD = 2**16  # The bytes by which a format is recognised.

_READ = ".pth, .safetensors, .caffemodel, .npz, .h5, .keras and .mat"


def foreign_net(path: pathlib.Path) -> ForeignNet:
    """Opens a weight file of another package. Its arrays are read later.

    Raises:
      UserError: There is no such file, it isn't of a format and layout that this package reads, it
        needs another package, or it is damaged. The message names the file.
    """
    with naming(path):
        tensors = _tensors(path)
        for layout in by_name.modules(f"{__package__}.layouts"):
            net = layout.convert(tensors)
            if net is not None:
                return net
    raise UserError(
        f"{path} holds no net that this package knows: its arrays are called "
        f"{some_of(list(tensors.shapes))}."
    )


def _tensors(path: pathlib.Path) -> Tensors:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    with path.open("rb") as file:
        head = file.read(HEAD)
    not_weights.refuse(path, head)
    for weight_format in by_name.modules(f"{__package__}.formats"):
        if weight_format.recognises(head):
            return weight_format.read(path)
    raise UserError(f"{path} is not a weight file that this package reads: {_READ}.")
