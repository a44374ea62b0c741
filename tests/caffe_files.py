"""Writes `.caffemodel` files: a small encoder of Protocol Buffers."""

import struct

import foreign_layers
import numpy as np


def varint(number):
    digits = []
    while True:
        number, digit = number >> 7, number & 0x7F
        digits.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(digits)


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, contents):
    contents = contents.encode() if isinstance(contents, str) else contents
    return varint(field << 3 | 2) + varint(len(contents)) + contents


def floats(values, *, packed=True, double=False):
    """Returns BlobProto's data, or its double_data, in one of the two encodings."""
    values = np.asarray(values, "<f8" if double else "<f4").ravel()
    field = 8 if double else 5
    if packed:
        return message(field, values.tobytes())
    tag = bytes([field << 3 | (1 if double else 5)])
    return b"".join(tag + struct.pack("<d" if double else "<f", value) for value in values)


def new_blob(array, **encoding):
    """Returns a blob with BlobShape, whose dims are packed, and a diff, which is to be skipped."""
    dims = message(1, b"".join(map(varint, array.shape)))
    diff = message(6, bytes(4 * array.size))
    return floats(array, **encoding) + diff + message(7, dims)


def old_blob(array, **encoding):
    """Returns a blob with the four dimensions of before BlobShape."""
    shape = (1,) * (4 - array.ndim) + array.shape
    dims = b"".join(number(field, size) for field, size in enumerate(shape, 1))
    return dims + floats(array, **encoding)


def new_layer(name, blobs):
    about = message(1, name) + message(2, "Convolution") + message(3, "data")
    return message(100, about + b"".join(message(7, blob) for blob in blobs))


def old_layer(name, blobs):
    about = message(2, "data") + message(3, name) + message(4, name) + number(5, 4)
    return message(2, about + b"".join(message(6, blob) for blob in blobs))


def blobs(name, layer):
    """Returns a layer's kernel and bias as Caffe lays them out."""
    kernel = layer["kernel"]
    if name.startswith("fc"):
        return foreign_layers.flattened_chw(kernel).T, layer["bias"]
    return kernel.transpose(3, 2, 0, 1), layer["bias"]


def norm(*, old, alpha=5e-4, k=2.0):
    """Returns a layer of local response normalisation, by default that of A-LRN."""
    parameter = number(1, 5) + _float(2, alpha) + _float(3, 0.75) + _float(5, k)
    if old:
        return message(2, message(4, "norm1") + number(5, 15) + message(18, parameter))
    return message(100, message(1, "norm1") + message(2, "LRN") + message(118, parameter))


def _float(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def pooling(method, *, old, size=2, pad=0):
    """Returns a pooling layer; the method 0 is the maximum, 1 the average."""
    parameter = number(1, method) + number(2, size) + number(3, 2) + number(4, pad)
    if old:
        return message(2, message(4, "pool1") + number(5, 17) + message(19, parameter))
    return message(100, message(1, "pool1") + message(2, "Pooling") + message(121, parameter))


def model(layers, *, old=False, **encoding):
    """Returns the bytes of a `.caffemodel` with the layers, and with some that have no weights."""
    make_layer, make_blob = (old_layer, old_blob) if old else (new_layer, new_blob)
    contents = message(1, "VGG_ILSVRC_16_layers") + make_layer("data", [])
    for name, layer in layers.items():
        contents += make_layer(name, [make_blob(array, **encoding) for array in blobs(name, layer)])
        contents += make_layer(f"relu_{name}", [])
    return contents
