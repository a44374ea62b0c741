"""The mesh of devices and where arrays lie on it.

Each batch is split over the devices (§3.3). Besides, the devices along "model" can share the FC
layers' kernels, nine tenths of D's parameters, as Krizhevsky 2014 does: each then holds a part of
them, has no gradient of the others' parts, and gets the batch's activations instead.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import DictKey, KeyPath
from jaxtyping import Array

from vgg_jax.nets.vgg import Place, Split

# Steps that may wait on the devices. Without a bound a fast host runs ahead without end, and
# several hosts that do so hang.
STEPS_IN_FLIGHT = 4

# FC6 and FC7 are split by their outputs. FC8's outputs, the classes, needn't divide, so it is split
# by its inputs: the sum over "model" of its scores is a sixteenth of its gradient (D, 256 images).
_SPLIT_PARAMS = {
    ("fc6", "kernel"): PartitionSpec(None, None, None, "model"),
    ("fc6", "bias"): PartitionSpec("model"),
    ("fc7", "kernel"): PartitionSpec(None, None, None, "model"),
    ("fc7", "bias"): PartitionSpec("model"),
    ("fc8", "kernel"): PartitionSpec(None, None, "model"),
}


def make_mesh(devices: list[jax.Device] | None = None, *, model_parallel: int = 1) -> Mesh:
    """Lays the devices along two axes, "data" and "model".

    Args:
      devices: By default all there are.
      model_parallel: Devices along "model", which share the FC layers' kernels; it divides the
        number of devices (see `architectures.model_parallel_choices`).
    """
    if devices is None:
        # Process after process: each then has one piece of every batch, in the processes' order.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Neighbours share kernels, so that what they exchange most stays within a host.
    grid = np.asarray(devices).reshape(-1, model_parallel)
    # Auto: the compiler places intermediate values. Under the default, Explicit, every operation
    # would have to say how it is split.
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first axis divided over all devices: batches."""
    return NamedSharding(mesh, PartitionSpec(("data", "model")))


def of_state(state: Any, mesh: Mesh) -> Any:
    """Says where each array of a training state lies, parameters and momentum alike.

    Args:
      state: A `state.TrainState`, or a part of one; arrays or shapes.
      mesh: See `make_mesh`.

    Returns:
      The same tree of shardings.
    """

    def placed(path: KeyPath, _: Any) -> NamedSharding:
        names = tuple(key.key for key in path if isinstance(key, DictKey))
        return NamedSharding(mesh, _SPLIT_PARAMS.get(names, PartitionSpec()))

    return jax.tree_util.tree_map_with_path(placed, state)


def fc_place(mesh: Mesh) -> Place:
    """Makes what tells `vgg.VGG` where its FC layers' values lie while it trains.

    Told nothing, XLA for CPUs gathered FC6's kernel where that was smaller than the batch's
    activations, and exchanged all its gradient again.
    """
    specs = {
        "examples": PartitionSpec("data"),
        "features": PartitionSpec("data", None, None, "model"),
    }

    def place(x: Array, split: Split) -> Array:
        if mesh.shape["model"] == 1:  # Nothing to tell; on one device XLA would copy x.
            return x
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, specs[split]))

    return place


def put_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Sends this process's part of a batch to its devices; the result is the global batch."""
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


def put_state(state: Any, mesh: Mesh) -> Any:
    """Sends a training state to where `of_state` says."""
    return jax.device_put(state, of_state(state, mesh))
