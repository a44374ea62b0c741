"""The rates that bound every computation: of matrix products and of copies, and the device."""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmark.sides import process
from vgg_jax.system import jax_devices

# Per measurement, so that the time to start one doesn't count. On a CPU a single one takes 10 ms or
# more.
_CALLS = 10


def measure(dtype: str) -> dict[str, Any]:
    """Measures both rates.

    Args:
      dtype: The matrices' dtype; "" for bfloat16 on a GPU and float32 on a CPU.
    """
    device = jax_devices.found()[0]
    on_cpu = device.platform == "cpu"
    dtype = dtype or ("float32" if on_cpu else "bfloat16")
    side, copied_bytes = (2048, 2**28) if on_cpu else (8192, 2**32)
    x, w = (
        (jax.random.normal(key, (side, side)) * side**-0.5).astype(dtype)
        for key in jax.random.split(jax.random.key(0))
    )
    calls = 1 if on_cpu else _CALLS
    product_s = _seconds(lambda x, w: x @ w, calls, x, w)
    copy_s = _seconds(lambda x: x + 1, calls, jnp.ones(copied_bytes // 4))
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "dtype": dtype,
        "matrix_side": side,
        "flops_per_s": 2 * side**3 / product_s,
        "bytes_per_s": 2 * copied_bytes / copy_s,
    }


def _seconds(function: Callable[..., jax.Array], calls: int, *arrays: jax.Array) -> float:
    compiled = jax.jit(function)

    def call() -> None:
        # In a loop within one program they ran at 635 instead of 761 TFLOP/s on an H200.
        for _ in range(calls):
            result = compiled(*arrays)
        result.block_until_ready()

    _, seconds = process.timed(call, warm_up=2, at_least=5, at_least_s=0.5)
    return statistics.median(seconds) / calls


if __name__ == "__main__":
    process.run(measure, without=("torch",))
