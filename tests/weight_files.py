"""Weight files as tests write them, without the packages whose formats they have."""

import dataclasses
import json
import math
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

# PyTorch's storage and safetensors' name of each dtype. bfloat16 is ml_dtypes', as JAX has it.
TORCH_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
}
SAFETENSORS = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
}


class Global(NamedTuple):
    """A global in a pickle, named "module name"."""

    name: str


class Call(NamedTuple):
    """A call of a global in a pickle."""

    name: str
    arguments: tuple


class Ordered(NamedTuple):
    """An OrderedDict in a pickle, with the state that PyTorch gives to state dicts."""

    items: dict
    state: Any


class Persistent(NamedTuple):
    """A persistent id in a pickle."""

    identity: tuple


def pickled(value):
    """Returns a pickle of protocol 2; globals are named without being imported."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value):
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(number)]) + number
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case Global(name):
            return b"c" + name.replace(" ", "\n").encode() + b"\n"
        case Call(name, arguments):
            return _opcodes(Global(name)) + _opcodes(arguments) + b"R"
        case Ordered(items, state):
            filled = _opcodes(Call("collections OrderedDict", ())) + _items(items)
            return filled + _opcodes(state) + b"b"
        case Persistent(identity):
            return _opcodes(identity) + b"Q"
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}" + _items(value)
    raise TypeError(type(value))


def _items(items):
    return b"(" + b"".join(_opcodes(part) for pair in items.items() for part in pair) + b"u"


def storage(key, array, view=None):
    """Returns the persistent id of a storage that has an array's values.

    Args:
      key: The storage's key.
      array: Its values.
      view: None, or a view of it as in the legacy format: a key, an offset and a count.
    """
    kind = Global(f"torch {TORCH_STORAGES[array.dtype.name]}")
    return Persistent(("storage", kind, key, "cpu", array.size, view))


def tensor(key, array, *, shape=None, strides=None, offset=0, view=None):
    """Returns the call that rebuilds a tensor, by default of all of its storage in C order."""
    shape = array.shape if shape is None else shape
    if strides is None:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    hooks = Call("collections OrderedDict", ())
    return Call(
        "torch._utils _rebuild_tensor_v2",
        (storage(key, array, view), offset, shape, strides, False, hooks),
    )


def parameter(rebuilt):
    """Returns the call that makes a parameter of a tensor."""
    hooks = Call("collections OrderedDict", ())
    return Call("torch._utils _rebuild_parameter", (rebuilt, True, hooks))


@dataclasses.dataclass
class TorchFile:
    """What a file of PyTorch holds.

    Attributes:
      value: What is pickled.
      storages: The storages by their keys.
    """

    value: Any
    storages: dict[str, np.ndarray]


def torch_state(arrays):
    """Returns a state dict of arrays, each a tensor with a storage of its own."""
    keys = {name: str(index) for index, name in enumerate(arrays)}
    return TorchFile(
        {name: tensor(keys[name], array) for name, array in arrays.items()},
        {keys[name]: array for name, array in arrays.items()},
    )


def write_torch_zip(path, file, *, top="archive", byteorder="little", checksums=True):
    """Writes PyTorch's zip format."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{top}/data.pkl", pickled(file.value))
        if byteorder:
            archive.writestr(f"{top}/byteorder", byteorder)
        for key, array in file.storages.items():
            order = ">" if byteorder == "big" else "<"
            archive.writestr(f"{top}/data/{key}", _swapped(array, order).tobytes())
        archive.writestr(f"{top}/version", "3\n")
        if not checksums:
            for record in archive.filelist:
                record.CRC = 0
    return path


def _swapped(array, order):
    bits = {2: np.uint16, 8: np.uint64, 4: np.uint32, 1: np.uint8}[array.itemsize]
    return array.reshape(-1).view(bits).astype(np.dtype(bits).newbyteorder(order))


def write_torch_legacy(path, file):
    """Writes PyTorch's legacy format."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(system), pickled(file.value)]
    parts.append(pickled(list(file.storages)))
    for array in file.storages.values():
        parts += [struct.pack("<q", array.size), _swapped(array, "<").tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def write_safetensors(path, arrays, *, change=lambda header: header):
    """Writes the safetensors format.

    Args:
      path: The file.
      arrays: The arrays by their names.
      change: Changes the header, a dict, before it is written.
    """
    header = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in arrays.items():
        offsets = [end, end := end + array.nbytes]
        dtype = SAFETENSORS[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(change(header)).encode()
    data = b"".join(_swapped(array, "<").tobytes() for array in arrays.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
