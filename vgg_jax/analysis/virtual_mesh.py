"""A mesh of virtual CPU devices, on any machine: see `vgg_jax.describe --mesh`."""

import os
import re

from vgg_jax.analysis import memory


def traffic_table(
    net: str,
    mesh: str,
    batch: int | None,
    *,
    dtype: memory.DType | None = None,
    micro_batches: int | None = None,
    remat: bool | None = None,
    **setting: int | float,
) -> str:
    """Writes what so many devices exchange in a training step, as `traffic_table.table` does.

    JAX is imported here and has these devices alone from then on: this is for commands.

    Args:
      net: One of `architectures.NETS`.
      mesh: "DATA,MODEL", devices along its axes.
      batch: Images of a step on all devices together; None for 256.
      dtype: Of the arithmetic; float32, or None for it.
      micro_batches, remat, **setting: See `traffic_table.table`; None for its defaults.

    Raises:
      ValueError: The mesh isn't two numbers above 0, the dtype is bfloat16, or see
        `traffic_table.table`.
    """
    match = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", mesh)
    if match is None:
        raise ValueError(f"--mesh={mesh} must be DATA,MODEL, two numbers of devices: --mesh=1,8.")
    data, model_parallel = map(int, match.groups())
    if dtype == "bfloat16":
        raise ValueError(
            "--mesh shows float32: XLA for CPUs exchanges no bfloat16. Leave out --dtype=bfloat16."
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices = f"--xla_force_host_platform_device_count={data * model_parallel}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices}"

    from vgg_jax.analysis import traffic_table

    return traffic_table.table(
        net,
        data,
        model_parallel,
        batch=256 if batch is None else batch,
        micro_batches=1 if micro_batches is None else micro_batches,
        remat=bool(remat),
        **setting,
    )
