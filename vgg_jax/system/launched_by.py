"""What the environment says of the job that this process belongs to."""

import glob
import importlib.util
from collections.abc import Mapping
from typing import Any

from vgg_jax.errors import UserError

# What an MPI launcher says: how many processes there are, and which one this is.
_MPI = (("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK"))
_BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns what to call `jax.distributed.initialize` with; None for a process of its own.

    JAX_NUM_PROCESSES=1 says that it is one, whatever else is set. Otherwise
    JAX_COORDINATOR_ADDRESS (HOST:PORT of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    count; then Slurm, where the step has several tasks, as `srun` starts them: neither in a batch
    script nor in the shell of an allocation would others come; then MPI; then a TPU's own machine.

    Args:
      environment: os.environ.

    Raises:
      UserError: Variables are missing or impossible, or MPI has started several processes that
        would not find one another: each would train alone, in one workdir.
    """
    if environment.get("JAX_NUM_PROCESSES") == "1":
        return None
    if "JAX_NUM_PROCESSES" in environment or "JAX_PROCESS_ID" in environment:
        missing = [name for name in _BY_HAND if not environment.get(name)]
        if missing:
            raise UserError(
                f"{' and '.join(missing)} must be set too: {', '.join(_BY_HAND)} go together."
            )
        address, count, index = (environment[name] for name in _BY_HAND)
        return _explicit(environment, address, *_numbers(count, index, _BY_HAND[1:]))
    tasks, task = environment.get("SLURM_STEP_NUM_TASKS", "1"), environment.get("SLURM_PROCID", "0")
    count, index = _numbers(tasks, task, ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"))
    if count > 1:
        return _slurm(environment, count, index)
    for names in _MPI:
        size, rank = environment.get(names[0], "1"), environment.get(names[1], "0")
        count, index = _numbers(size, rank, names)
        if count > 1:
            return _mpi(environment, count, index)
    if environment.get("JAX_COORDINATOR_ADDRESS") and "SLURM_STEP_NUM_TASKS" not in environment:
        raise UserError(
            "JAX_COORDINATOR_ADDRESS is set, but neither JAX_NUM_PROCESSES and JAX_PROCESS_ID nor "
            "a launcher say which process this is. Set these, or unset it for a single process."
        )
    return {} if on_tpu_machine(environment) else None


def _numbers(count: str, index: str, names: tuple[str, str]) -> tuple[int, int]:
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"{names[0]}={count} and {names[1]}={index} are no number of processes and a number "
            "from 0 to below it."
        )
    return int(count), int(index)


def _explicit(
    environment: Mapping[str, str], address: str, count: int, index: int
) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address} is not HOST:PORT.")
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        **_all_devices(environment),
    }


def _slurm(environment: Mapping[str, str], count: int, index: int) -> dict[str, Any]:
    # JAX takes the address from Slurm's variables, and the device of the task's number on its node:
    # a task that has the node to itself would get the first device alone.
    nodes = environment.get("SLURM_STEP_NUM_NODES")
    alone = _all_devices(environment) if nodes == str(count) else {}
    return {
        "cluster_detection_method": "slurm",
        "num_processes": count,
        "process_id": index,
        **alone,
    }


def _mpi(environment: Mapping[str, str], count: int, index: int) -> dict[str, Any]:
    address = environment.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        raise UserError(
            f"MPI has started {count} processes. Set JAX_COORDINATOR_ADDRESS to HOST:PORT, "
            "the first one's host and a free port, for them to find one another."
        )
    return _explicit(environment, address, count, index)


def _all_devices(environment: Mapping[str, str]) -> dict[str, Any]:
    # Without any list JAX makes the launcher's choice.
    return {} if environment.get("JAX_LOCAL_DEVICE_IDS") else {"local_device_ids": []}


def on_tpu_machine(environment: Mapping[str, str]) -> bool:
    """Tells whether JAX will find a TPU here, without asking it, which would take hold of it."""
    wanted = environment.get("JAX_PLATFORMS", "")
    return (
        (not wanted or "tpu" in wanted)
        and importlib.util.find_spec("libtpu") is not None
        and bool(glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"))
    )
