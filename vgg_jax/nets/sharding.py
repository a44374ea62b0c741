"""The mesh of devices, and how arrays are sharded over it.

Each batch is split over all devices (§3.3). The devices along "model" can also share the FC layers'
kernels, nine tenths of D's parameters, as in Krizhevsky 2014. Each device then holds one part of
these kernels and exchanges no gradient of the other parts; instead it receives the batch's
activations.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import DictKey, KeyPath
from jaxtyping import Array

from vgg_jax.nets.vgg import Place, Split
from vgg_jax.system import jax_devices

# The number of steps that may wait on the devices. Without a bound, a fast host runs ever further
# ahead of its devices, and several such hosts hang.
STEPS_IN_FLIGHT = 4

# FC6 and FC7 are split by their outputs. FC8 is split by its inputs, because its outputs, the
# classes, may not divide evenly. Its scores must then be summed over "model", but they are only a
# sixteenth of its gradient's size (D, 256 images).
_SPLIT_PARAMS = {
    ("fc6", "kernel"): PartitionSpec(None, None, None, "model"),
    ("fc6", "bias"): PartitionSpec("model"),
    ("fc7", "kernel"): PartitionSpec(None, None, None, "model"),
    ("fc7", "bias"): PartitionSpec("model"),
    ("fc8", "kernel"): PartitionSpec(None, None, "model"),
}


def make_mesh(devices: list[jax.Device] | None = None, *, model_parallel: int = 1) -> Mesh:
    """Arranges the devices along two axes, "data" and "model".

    Args:
      devices: The devices; None for all there are.
      model_parallel: Number of devices along "model", which share the FC layers' kernels. It must
        divide the number of devices (see `architectures.model_parallel_choices`).

    Raises:
      UserError: JAX finds no device.
    """
    if devices is None:
        # They are sorted by process: each then has one piece of every batch, in this order.
        devices = sorted(jax_devices.found(), key=lambda device: (device.process_index, device.id))
    # Neighbouring devices share kernels, so that most of the exchange stays within a host.
    grid = np.asarray(devices).reshape(-1, model_parallel)
    # With Auto the compiler places intermediate values. With Explicit, the default, every operation
    # would have to say how its result is split.
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that puts a copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis is divided over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "model")))


def of_state(state: Any, mesh: Mesh) -> Any:
    """Returns the sharding of each array of a training state, parameters and momentum alike.

    Args:
      state: A `state.TrainState` or a part of one; its leaves are arrays or shapes.
      mesh: See `make_mesh`.

    Returns:
      The same tree with shardings as its leaves.
    """

    def placed(path: KeyPath, _: Any) -> NamedSharding:
        names = tuple(key.key for key in path if isinstance(key, DictKey))
        return NamedSharding(mesh, _SPLIT_PARAMS.get(names, PartitionSpec()))

    return jax.tree_util.tree_map_with_path(placed, state)


def fc_place(mesh: Mesh) -> Place:
    """Returns the function that fixes the sharding of `vgg.VGG`'s FC activations in training.

    Without it, XLA for CPUs gathered FC6's kernel where that was smaller than the batch's
    activations, and then exchanged the kernel's whole gradient again.
    """
    specs = {
        "examples": PartitionSpec("data"),
        "features": PartitionSpec("data", None, None, "model"),
    }

    def place(x: Array, split: Split) -> Array:
        if mesh.shape["model"] == 1:  # Nothing is split; on one device XLA would copy x.
            return x
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, specs[split]))

    return place


def put_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Sends this process's part of a batch to its devices, and returns the global batch."""
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


def put_state(state: Any, mesh: Mesh) -> Any:
    """Sends a training state to the devices, sharded as `of_state` says."""
    return jax.device_put(state, of_state(state, mesh))
