"""What the environment says about the processes of a job, for each launcher."""

import pytest

from vgg_jax.errors import UserError
from vgg_jax.system import launched_by

BY_HAND = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}
EXPLICIT = {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}


def test_a_process_of_its_own():
    assert launched_by.arguments({}) is None
    assert launched_by.arguments(BY_HAND | {"JAX_NUM_PROCESSES": "1"}) is None
    assert launched_by.arguments({"SLURM_STEP_NUM_TASKS": "4", "JAX_NUM_PROCESSES": "1"}) is None


def test_by_hand_with_all_devices_of_the_host():
    assert launched_by.arguments(BY_HAND) == EXPLICIT | {"local_device_ids": []}
    assert launched_by.arguments(BY_HAND | {"JAX_LOCAL_DEVICE_IDS": "0"}) == EXPLICIT


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_processes_of_one_host_listen_to_that_host_alone(host):
    address = f"{host}:1234"
    arguments = launched_by.arguments(BY_HAND | {"JAX_COORDINATOR_ADDRESS": address})
    assert arguments["coordinator_bind_address"] == address


@pytest.mark.parametrize("missing", BY_HAND)
def test_what_is_said_in_part_is_refused(missing):
    environment = {name: value for name, value in BY_HAND.items() if name != missing}
    with pytest.raises(UserError, match=f"{missing} must be set too"):
        launched_by.arguments(environment)


def test_an_address_alone_is_refused():
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS is set, but"):
        launched_by.arguments({"JAX_COORDINATOR_ADDRESS": "host:1234"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_NUM_PROCESSES", "two"),
        ("JAX_NUM_PROCESSES", "0"),
        ("JAX_PROCESS_ID", "4"),
        ("JAX_PROCESS_ID", "-1"),
        ("JAX_COORDINATOR_ADDRESS", "host"),
        ("JAX_COORDINATOR_ADDRESS", ":1234"),
    ],
)
def test_impossible_values(name, value):
    with pytest.raises(UserError, match=f"{name}={value}"):
        launched_by.arguments(BY_HAND | {name: value})


@pytest.mark.parametrize(
    "step",
    [
        {},  # salloc's shell.
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # The same, as an interactive step.
        {"SLURM_STEP_NUM_TASKS": "1", "JAX_COORDINATOR_ADDRESS": "host:1234"},
        {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # A batch script.
    ],
)
def test_an_allocation_for_several_tasks_without_their_step(step):
    assert launched_by.arguments(SLURM | step) is None


def test_a_step_of_several_tasks():
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_STEP_NUM_NODES": "4"}
    expected = {"cluster_detection_method": "slurm", "num_processes": 4, "process_id": 3}
    assert launched_by.arguments(SLURM | step) == expected | {"local_device_ids": []}
    assert launched_by.arguments(SLURM | step | {"SLURM_STEP_NUM_NODES": "2"}) == expected


@pytest.mark.parametrize(
    "names", [("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK")]
)
def test_mpi_needs_an_address(names):
    environment = dict(zip(names, "43", strict=True))
    with pytest.raises(UserError, match="MPI has started 4 processes"):
        launched_by.arguments(environment)
    environment["JAX_COORDINATOR_ADDRESS"] = "host:1234"
    assert launched_by.arguments(environment) == EXPLICIT | {"local_device_ids": []}
    assert launched_by.arguments({names[0]: "1", names[1]: "0"}) is None
