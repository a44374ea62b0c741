"""The safetensors format, read from files that are written here by hand."""

import struct

import jax.numpy as jnp
import numpy as np
import pytest
import weight_files

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import safetensors

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": jnp.bfloat16,
}


def _random(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def _read(path):
    tensors = safetensors.read(path)
    return {name: tensors.read(name) for name in tensors.shapes}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_float_dtype_becomes_float32_to_the_bit(tmp_path, dtype):
    values = _random(3, 5, 2, dtype=DTYPES[dtype])
    path = weight_files.write_safetensors(tmp_path / "w.safetensors", {"w": values})
    np.testing.assert_array_equal(_read(path)["w"], values.astype(np.float32), strict=True)


def test_names_shapes_and_order_are_the_files(tmp_path):
    arrays = {"b": _random(2, 3), "a": _random(4), "n": np.array(7), "e": _random(0, 3)}
    path = weight_files.write_safetensors(tmp_path / "w.safetensors", arrays)
    assert safetensors.recognises(path.read_bytes()[:65536])
    shapes = safetensors.read(path).shapes
    assert list(shapes.items()) == [(name, array.shape) for name, array in arrays.items()]
    for name, array in _read(path).items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    arrays = {"a": _random(5), "b": _random(2, 3)}
    content = weight_files.write_safetensors(tmp_path / "w", arrays).read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"is cut short or damaged: .* again") as error:
            _read(path)
        assert str(path) in str(error.value)
    path.write_bytes(content + b"x")
    with pytest.raises(UserError, match="bytes instead of"):
        _read(path)


def test_bytes_that_flip_give_one_clear_error_or_another_value(tmp_path):
    arrays = {"a": _random(5), "b": _random(2, 3)}
    content = weight_files.write_safetensors(tmp_path / "w", arrays).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.safetensors"
    refused = 0
    for _ in range(400):
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            _read(path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
    assert refused > 100


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 100_000, "is not JSON"),
        (b"{nonsense", "is not JSON"),
        (b'{"__metadata__": {"a": 1}}', "its metadata is not text"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[1, 2]", "is not a JSON object"),
        (b'{"a": {}, "a": {}}', "a name appears twice"),
        (b'{"a": 1}', "doesn't say where a is"),
        (b'{"a": {"dtype": "F32", "shape": [1]}}', "doesn't say where a is"),
        (b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', "impossible size"),
        (b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}', "impossible size"),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}', "impossible size"),
        (b'{"a": {"dtype": "F32", "shape": [1' + b"0" * 5000 + b"]}}", "is not JSON"),
        (b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}', "a as F8_E4M3"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', "don't fit its shape"),
        (
            b'{"a": {"dtype": "I64", "shape": [100000000], "data_offsets": [0, 800000000]}}',
            "has 1[0-9]+ bytes instead of 800,000,",
        ),
        (
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
            b'"b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}',
            "b overlaps with another array",
        ),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', "a follows a gap"),
    ],
)
def test_garbled_headers_are_refused(tmp_path, header, message):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(40))
    with pytest.raises(UserError, match=message) as error:
        safetensors.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 100, 2**25, 2**62, 2**64 - 1])
def test_a_header_of_an_impossible_length_is_refused(tmp_path, length):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(UserError, match=r"a header of|within its header"):
        safetensors.read(path)
    with pytest.raises(UserError, match="can't be read"):
        safetensors.read(tmp_path / "absent")
