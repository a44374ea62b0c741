"""What to do where a device's or the host's memory is full. Needs no JAX."""

import re

# XLA's allocators say either, depending on the device.
_FULL = re.compile(r"RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)


def explain(error: BaseException) -> str | None:
    """Returns what is full and what to do; None if the error is another one."""
    if isinstance(error, MemoryError):
        place = "The host's memory"
        less = "fewer --config.data.num_workers, or a smaller --config.data.decode_bytes"
    # A comparison of names spares commands without a device the import of JAX.
    elif type(error).__name__ == "JaxRuntimeError" and _FULL.search(str(error)):
        place = "The device's memory"
        less = "--config.micro_batches=2 or more, or --config.remat=True"
    else:
        return None
    reason = str(error).partition("\n")[0].strip(" .")[:200] or type(error).__name__
    return (
        f"{place} is full ({reason}). End other processes that use it, or need less:\n"
        f"  in training, {less};\n"
        "    a run goes on with these from its last checkpoint\n"
        "  in a new run, also a smaller --config.batch_size and --config.eval.batch_size\n"
        "  in an evaluation, --config.eval.batch_px=500000, or smaller scales Q\n"
        "  in another command, smaller scales Q or fewer images at a time\n"
        "python -m vgg_jax.describe --net=D --batch=64 predicts the memory of a training step."
    )
