"""Digests of arrays: the same wherever the arrays lie, and another for each change."""

import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from vgg_jax.runs import digests


@pytest.fixture(autouse=True)
def _small_arrays_are_large(monkeypatch):
    monkeypatch.setattr(digests, "_CHUNK", 4)


def digest(array):
    return digests.of_tree({"a": array})["a"]


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "uint8"])
@pytest.mark.parametrize(
    ("shape", "split"),
    [
        ((3, 3, 16, 8), (None, None, None, "model")),
        ((16, 8), ("model", "data")),
        ((64,), ("data",)),
        ((8,), ()),
        ((), ()),
        ((0, 4), ()),
    ],
)
def test_numpy_one_device_and_a_mesh_agree(shape, split, dtype):
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    values = np.asarray(100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    expected = digest(values)
    assert digest(jax.device_put(values, jax.devices()[0])) == expected
    assert digest(jax.device_put(values, NamedSharding(mesh, PartitionSpec(*split)))) == expected


def test_a_sharded_array_stays_where_it_is():
    mesh = jax.make_mesh((8,), ("model",))
    array = jax.device_put(
        np.zeros((64, 512), np.float32), NamedSharding(mesh, PartitionSpec("model"))
    )
    text = digests._of_jax.lower([array]).compile().as_text()
    gathered = re.findall(r"u32\[([\d,]+)\]\S* all-gather\(", text)
    assert gathered
    for shape in gathered:  # The sums of the devices, and no elements.
        assert np.prod([int(size) for size in shape.split(",")]) <= 64


@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
    flip=st.integers(1, 2**32 - 1),
    data=st.data(),
)
@settings(deadline=None)
def test_a_changed_element_changes_both_halves(bits, flip, data):
    index = data.draw(st.integers(0, len(bits) - 1))
    array = np.array(bits, np.uint32)
    other = array.copy()
    other[index] ^= np.uint32(flip)
    ours, theirs = digest(array.view(np.float32)), digest(other.view(np.float32))
    assert ours[:8] != theirs[:8]
    assert ours[8:] != theirs[8:]


def test_exchanged_elements_not_a_number_and_signs_of_zero_count():
    arrays = [[1.0, 2.0], [2.0, 1.0], [np.nan, 2.0], [0.0, 2.0], [-0.0, 2.0]]
    assert len({digest(np.array(a, np.float32)) for a in arrays}) == len(arrays)
