"""The objects of PyTorch's pickles: state dicts, tensors and their storages."""

import dataclasses
import io
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from vgg_jax.errors import UserError
from vgg_jax.foreign.file_errors import damaged
from vgg_jax.foreign.pytorch import pickles
from vgg_jax.foreign.stored_arrays import DTYPES, item_bytes

PICKLE_BYTES = 2**22  # No more is read of a pickle; that of a VGG has about 30 kB.

_STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "uint8",
}
_DTYPES = {f"torch.{name}": name for name in DTYPES}
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
)
_REBUILD_TENSOR = (
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
)
_PLAIN = ("collections.OrderedDict", "torch.Size")
_KNOWN = frozenset((*_STORAGES, *_DTYPES, *_PARAMETERS, *_REBUILD_TENSOR, *_PLAIN))


@dataclasses.dataclass(frozen=True)
class Storage:
    """Consecutive bytes, or a part of them, which one or more tensors share.

    Attributes:
      key: The name of the whole.
      dtype: The dtype of its values, one of `DTYPES`.
      whole_bytes: The bytes of the whole.
      start: The part's first byte in the whole.
      num_bytes: The bytes of the part.
    """

    key: str
    dtype: str
    whole_bytes: int
    start: int
    num_bytes: int


class StoredTensor(NamedTuple):
    """A tensor as a pickle describes it; offset and strides are in values."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Loaded(NamedTuple):
    """What a pickle holds.

    Attributes:
      value: Plain data with `StoredTensor`s and `Storage`s.
      storages: The storages of the pickle, or parts of them, by their keys.
    """

    value: Any
    storages: Mapping[str, Storage]


def load(path: pathlib.Path, file: io.BytesIO) -> Loaded:
    """Reads the pickle that begins at the file's position, and moves the position to its end.

    Args:
      path: The file that the bytes are from, for messages.
      file: The bytes of one or more pickles.

    Raises:
      UserError: The pickle is damaged, or names a global that no state dict needs.
    """

    def persistent(identity: Any) -> Storage:
        storage = _storage(identity)
        storages.setdefault(storage.key, storage)
        return storage

    storages: dict[str, Storage] = {}
    try:
        value = pickles.load(file, pickles.Meaning(_KNOWN, _call, persistent))
    except pickles.UnknownGlobalError as error:
        raise UserError(
            f"{path} is refused, because its pickle uses {str(error)[:80]}, which could run any "
            "code. If you trust the file, load it with PyTorch and save the model's state_dict() "
            "alone."
        ) from error
    except pickles.PickleError as error:
        raise damaged(path, str(error)) from error
    return Loaded(value, storages)


def _call(name: str, arguments: tuple) -> Any:
    """Returns what a known global makes of its arguments.

    Raises:
      PickleError: The arguments are not those that PyTorch writes.
    """
    if name == "collections.OrderedDict":
        listed = arguments[0] if arguments else []  # Python 2 lists the items here.
        items = dict(pickles.pairs([part for key, value in listed for part in (key, value)]))
        listed.clear()  # A pickle could otherwise ask for copies until the memory is full.
        return items
    if name == "torch.Size":
        return _sizes(arguments[0])
    if name in _PARAMETERS:
        if not isinstance(arguments[0], StoredTensor):
            raise pickles.PickleError("its pickle has a parameter without a tensor")
        return arguments[0]
    if name in _REBUILD_TENSOR:
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, Storage):
            raise pickles.PickleError("its pickle has a tensor without a storage")
        dtype = storage.dtype
        if name.endswith("_v3"):
            dtype = _DTYPES[arguments[6].name]
        (offset,) = _sizes((offset,))
        return StoredTensor(storage, dtype, offset, _sizes(shape), _sizes(strides))
    raise pickles.PickleError(f"its pickle calls {name}")


def _storage(identity: Any) -> Storage:
    """Returns the storage of ("storage", type, key, device, values[, (view key, offset, values)]).

    Raises:
      PickleError: The persistent id is another.
    """
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise pickles.PickleError("its pickle has a persistent id that is not of a storage")
    kind, key, view = identity[1], identity[2], identity[5] if len(identity) > 5 else None
    dtype = _STORAGES[kind.name]
    (count,) = _sizes((identity[4],))
    _, first, part = (None, 0, count) if view is None else view
    first, part = _sizes((first, part))
    if first + part > count:
        raise pickles.PickleError("its pickle has a view beyond its storage")
    if not isinstance(key, str):
        raise pickles.PickleError("its pickle has a storage without a name")
    size = item_bytes(dtype)
    return Storage(key, dtype, count * size, first * size, part * size)


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(
        type(value) is int and 0 <= value < 2**63 for value in values
    ):
        raise pickles.PickleError("its pickle has a tensor with an impossible size")
    return values
