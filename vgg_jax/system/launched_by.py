"""Reads from the environment which job this process belongs to."""

import glob
import importlib.util
from collections.abc import Mapping
from typing import Any

from vgg_jax.errors import UserError

# What MPI launchers set: the number of processes, and the index of this one.
_MPI = (("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK"))
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns the arguments of `jax.distributed.initialize`; None for a single process.

    JAX_NUM_PROCESSES=1 means a single process, whatever else is set. Otherwise the first of these
    that applies decides:

    1. JAX_COORDINATOR_ADDRESS (HOST:PORT of the first process), JAX_NUM_PROCESSES and
       JAX_PROCESS_ID.
    2. Slurm, if the job step has several tasks, as `srun` starts them. A batch script and the shell
       of an allocation have one task, which no others would join.
    3. MPI, if it has started several processes.
    4. The machine of a TPU.

    Args:
      environment: os.environ.

    Raises:
      UserError: Variables are missing or impossible, or MPI has started several processes that
        would not find each other: each would train alone, all in the same workdir.
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
            "a launcher say which process this is. Set these two, or unset it to run one process."
        )
    return {} if on_tpu_machine(environment) else None


def processes_here(environment: Mapping[str, str]) -> int:
    """Returns how many processes of this job share this host's cores, as far as that is known.

    Slurm gives each task its own cores.
    """
    local = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "")
    if environment.get("JAX_COORDINATOR_ADDRESS", "").rpartition(":")[0] in _LOOPBACK:
        local = environment.get("JAX_NUM_PROCESSES") or local
    return max(1, int(local)) if local.isdecimal() else 1


def _numbers(count: str, index: str, names: tuple[str, str]) -> tuple[int, int]:
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"{names[0]}={count} and {names[1]}={index} are impossible. They must be the number of "
            "processes and the index of this one, counted from 0."
        )
    return int(count), int(index)


def _explicit(
    environment: Mapping[str, str], address: str, count: int, index: int
) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address} is not HOST:PORT.")
    # JAX would listen on all of the host's addresses, also where all processes are on one host.
    here = {"coordinator_bind_address": address} if host in _LOOPBACK else {}
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        **here,
        **_all_devices(environment),
    }


def _slurm(environment: Mapping[str, str], count: int, index: int) -> dict[str, Any]:
    # JAX reads the address from Slurm's variables, and chooses the device by the task's number on
    # its node. A task that has its node to itself would get only the first device.
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
            "the first one's host and a free port, so that they find each other."
        )
    return _explicit(environment, address, count, index)


def _all_devices(environment: Mapping[str, str]) -> dict[str, Any]:
    # An empty list means all devices. Without a list, JAX makes the launcher's choice.
    return {} if environment.get("JAX_LOCAL_DEVICE_IDS") else {"local_device_ids": []}


def on_tpu_machine(environment: Mapping[str, str]) -> bool:
    """Returns whether JAX will find a TPU here. Asking JAX would already occupy the TPU."""
    wanted = environment.get("JAX_PLATFORMS", "")
    return (
        (not wanted or "tpu" in wanted)
        and importlib.util.find_spec("libtpu") is not None
        and bool(glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"))
    )
