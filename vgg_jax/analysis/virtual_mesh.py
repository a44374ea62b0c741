"""A mesh of virtual CPU devices, on any machine: see `vgg_jax.describe --mesh`."""

import os
import re

from vgg_jax.analysis.specs import NetSpec, StepSpec


def compiled_traffic(spec: NetSpec, step: StepSpec, mesh: str) -> str:
    """Writes `traffic_table.table` for a mesh of virtual devices.

    This imports JAX, which has only these devices from then on, so only a command should call it.

    Args:
      spec, step: See `traffic_table.table`.
      mesh: The numbers of devices along the axes of the mesh as "DATA,MODEL", for example "1,8".

    Raises:
      ValueError: The mesh isn't two numbers above 0, the dtype is bfloat16, or
        `traffic_table.table` refuses the step.
    """
    match = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", mesh)
    if match is None:
        raise ValueError(f"--mesh={mesh} must be DATA,MODEL, two numbers of devices: --mesh=1,8.")
    data, model_parallel = map(int, match.groups())
    if step.dtype == "bfloat16":
        raise ValueError(
            "--mesh shows float32: XLA for CPUs exchanges no bfloat16. Leave out --dtype=bfloat16."
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices = f"--xla_force_host_platform_device_count={data * model_parallel}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices}"

    from vgg_jax.analysis import traffic_table

    return traffic_table.table(spec, step, data, model_parallel)
