"""The mesh of devices and where arrays lie on it (§3.3: each batch is split over the devices)."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """Lays the devices, by default all there are, along one axis, "data"."""
    if devices is None:
        # Process after process: each then has one piece of every batch, in the processes' order.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: the compiler places intermediate values. Under the default, Explicit, every operation
    # would have to say how it is split.
    return Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device: parameters and optimiser state."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis divided over the devices: batches."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Sends this process's part of a batch to its devices; the result is the global batch."""
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))
