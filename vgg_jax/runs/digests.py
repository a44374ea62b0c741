"""Digests of arrays, which find damage in a checkpoint. They don't protect from malice.

A digest is two sums over an array's elements, modulo 2^32 each. Every element is mixed with its
index first, by functions that are bijective in the element, so that one changed element always
changes both sums. Sums of integers don't depend on their order: a digest is the same on any mesh,
on any number of hosts, and in NumPy.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# How many elements of a NumPy array are mixed at once, so that they stay in a cache. Smaller arrays
# of JAX are mixed by NumPy too: to compile a program for each shape would take longer.
_CHUNK = 1 << 18


def of_tree(tree: Any) -> dict[str, str]:
    """Returns the digest of each array of a pytree, in hexadecimal, by its path in the tree.

    JAX's large arrays stay where they are. NumPy's are read in pieces, without a copy.
    """
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
    large = {name: leaf for name, leaf in leaves.items() if _stays_on_devices(leaf)}
    sums = dict(zip(large, jax.device_get(_of_jax([*large.values()])), strict=True))
    sums |= {name: _of_numpy(np.asarray(leaves[name])) for name in leaves.keys() - large.keys()}
    return {name: f"{sums[name][0]:08x}{sums[name][1]:08x}" for name in leaves}


def _stays_on_devices(leaf: Any) -> bool:
    is_small = isinstance(leaf, jax.Array) and leaf.size < _CHUNK and leaf.is_fully_replicated
    return isinstance(leaf, jax.Array) and not is_small


def _mixed(bits: Any, index: Any) -> tuple[Any, Any]:
    """Mixes elements with their indices, all uint32, as MurmurHash3 does at its end."""
    x = bits + index * np.uint32(0x9E3779B1)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    x = x ^ (x >> np.uint32(16))
    return x, x * (index + index + np.uint32(1))


@jax.jit
def _of_jax(arrays: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    return [_sums(array) for array in arrays]


def _sums(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    bits = jax.lax.bitcast_convert_type(array, _unsigned(array.dtype)).astype(jnp.uint32)
    index = jnp.zeros(array.shape, jnp.uint32)
    for axis, size in enumerate(array.shape):  # A reshape would move arrays that are sharded.
        index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    # Both sums in one reduction, which XLA vectorises on CPUs: 20 times as fast as two.
    zero, axes = jnp.uint32(0), range(array.ndim)
    return jax.lax.reduce(
        _mixed(bits, index), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), axes
    )


def _of_numpy(array: np.ndarray) -> np.ndarray:
    flat, total = np.ascontiguousarray(array).reshape(-1), np.zeros(2, np.uint32)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        bits = chunk.view(_unsigned(chunk.dtype)).astype(np.uint32, copy=False)
        index = np.arange(start, start + chunk.size).astype(np.uint32)
        total += np.array([part.sum(dtype=np.uint32) for part in _mixed(bits, index)])
    return total


def _unsigned(dtype: Any) -> str:
    return f"uint{8 * np.dtype(dtype).itemsize}"
