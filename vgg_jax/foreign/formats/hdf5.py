"""HDF5 files: `.h5` and `.weights.h5` of Keras, and `.h5` of flaxmodels. h5py reads them.

Arrays are named by their paths in the file, with two exceptions:

- The part `model_weights/` of a model that Keras saved as `.h5` is left out, and the arrays outside
  it, which are the optimiser's, are too.
- Keras 3 names groups by the layer's kind and number, such as `layers/conv2d_1/vars/0`, and some
  versions note the layer's own name beside it. That name then takes the group's place:
  `layers/block1_conv2/vars/0`.

They are in the order of Keras's attributes `layer_names` and `weight_names`, where the file has
them; otherwise in natural order, in which conv2d_2 comes before conv2d_10.
"""

import contextlib
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vgg_jax.errors import UserError
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.optional_package import require_package
from vgg_jax.foreign.tensors import Tensors

if TYPE_CHECKING:
    import h5py

OpenFile = Callable[[], contextlib.AbstractContextManager["h5py.File"]]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SAVED_MODEL = "model_weights"
_VARIABLES = "vars"
_MOST_DEFLATED = 1032  # Deflate makes data at most 1,032 times smaller.
# The errors of h5py for damaged files. It raises RuntimeError for most that HDF5 reports.
_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, MemoryError)


class Hdf5Tensors(Tensors):
    """The arrays of an HDF5 file, which is opened again for each of them."""

    def __init__(self, path: pathlib.Path, open_file: OpenFile) -> None:
        """Lists the arrays.

        Args:
          path: The file's path, for messages.
          open_file: Opens the file, which may lie within another one.

        Raises:
          UserError: The file is cut short or damaged, or has its arrays in other files.
        """
        self._path = path
        self._open = open_file
        try:
            with open_file() as file:
                saved_model = _SAVED_MODEL in file
                root = file[_SAVED_MODEL] if saved_model else file
                datasets = _datasets(root, path)
                self._paths = {_name(root, at): at for at in _ordered(root, datasets)}
                self._root = _SAVED_MODEL if saved_model else "/"
        except UserError:
            raise
        except _ERRORS as error:
            raise damaged(path, _said(error)) from error
        self.shapes = {name: datasets[at] for name, at in self._paths.items()}

    def read(self, name: str) -> np.ndarray:
        """Reads an array as float32.

        Raises:
          UserError: The file is damaged there, or is compressed in a way that h5py lacks.
        """
        try:
            with self._open() as file:
                return _values(file[self._root][self._paths[name]])
        except _ERRORS as error:
            raise damaged(self._path, f"{name} can't be read ({_said(error)})") from error


def recognises(head: bytes) -> bool:
    """Returns whether a file is an HDF5 file."""
    return head.startswith(_SIGNATURE)


def read(path: pathlib.Path) -> Hdf5Tensors:
    """Lists the arrays of an HDF5 file. Their values are read later, one array at a time.

    Raises:
      UserError: h5py isn't installed, or the file is cut short or damaged.
    """
    require_package("h5py", path)
    import h5py

    return Hdf5Tensors(path, lambda: h5py.File(path, "r"))


def _datasets(root: "h5py.Group", path: pathlib.Path) -> Mapping[str, tuple[int, ...]]:
    """Returns the shapes of the datasets by their paths. Links to other files aren't followed."""
    import h5py

    shapes = {}
    size = path.stat().st_size

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and _is_float(item):
            if item.external or item.is_virtual:
                raise UserError(
                    f"{path} has the values of {name} in another file. Save the weights again in "
                    "one file."
                )
            stored = item.id.get_storage_size()
            if stored > size or item.nbytes > _MOST_DEFLATED * stored:
                raise damaged(path, f"{name} has fewer values than its shape {item.shape}")
            shapes[name] = tuple(map(int, item.shape))

    root.visititems(visit)
    return shapes


def _is_float(dataset: "h5py.Dataset") -> bool:
    return dataset.dtype.kind == "f" or _is_bfloat16(dataset)


def _is_bfloat16(dataset: "h5py.Dataset") -> bool:
    """Returns whether a dataset is what Keras writes for bfloat16, which HDF5 hasn't."""
    return dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16"


def _values(dataset: "h5py.Dataset") -> np.ndarray:
    array = np.asarray(dataset[()])
    if _is_bfloat16(dataset):  # It is the upper half of a float32.
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32, copy=False)


def _ordered(root: "h5py.Group", datasets: Mapping[str, tuple[int, ...]]) -> list[str]:
    if "layer_names" in root.attrs:
        layers = map(_text, root.attrs["layer_names"])
        listed = [
            f"{layer}/{_text(weight)}"
            for layer in layers
            for weight in root[layer].attrs.get("weight_names", ())
        ]
        return [at for at in listed if at in datasets]
    return sorted(datasets, key=_natural)


def _natural(name: str) -> list[tuple[str, int]]:
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(digits or -1)) for text, digits in parts]


def _said(error: Exception) -> str:
    return str(error).strip("'\"")  # A KeyError's text is quoted.


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(root: "h5py.Group", at: str) -> str:
    """Returns a dataset's path with the layer's own name, if Keras 3 noted it."""
    group, _, index = at.rpartition("/")
    above, _, kind = group.rpartition("/")
    container, _, _ = above.rpartition("/")  # "" for the optimiser, which stays `optimizer`.
    own = root[group].attrs.get("name") if container and kind == _VARIABLES else None
    return at if own is None else f"{container}/{_text(own)}/{_VARIABLES}/{index}"
