"""The devices of this machine, and how a process is bound to some of them."""

import dataclasses
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Literal

from vgg_jax.errors import UserError
from vgg_jax.system import launched_by


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of one kind.

    Attributes:
      kind: GPUs; the cores of a CPU; or a TPU host's chips, which one process holds together.
      names: What CUDA_VISIBLE_DEVICES or the operating system's scheduler calls them.
    """

    kind: Literal["gpu", "core", "tpu"]
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Writes "gpu 0,1"."""
        return f"{self.kind} {','.join(self.names)}"

    def environment(self) -> dict[str, str]:
        """Returns what a process bound to them has in its environment."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.names)} if self.kind == "gpu" else {}

    def bind(self) -> None:
        """Binds this process to its cores; XLA then starts as many threads."""
        if self.kind == "core" and self.names:
            os.sched_setaffinity(0, map(int, self.names))


def find() -> Devices:
    """Finds this machine's accelerators, or where JAX would find none the cores of its CPU.

    CUDA_VISIBLE_DEVICES, JAX_PLATFORMS=cpu and `taskset` narrow what is found. JAX isn't asked: it
    would take hold of the devices.
    """
    cores = Devices("core", tuple(map(str, sorted(os.sched_getaffinity(0)))))
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return cores
    gpus = _gpus()
    if gpus:
        return Devices("gpu", gpus)
    if launched_by.on_tpu_machine(os.environ):
        return Devices("tpu", ("all",))
    return cores


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA stops at the first that it doesn't know, as -1.
        return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), visible.split(",")))
    if not shutil.which("nvidia-smi"):
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))


def most(num_free: int, batch_sizes: Sequence[int], multiple: int) -> int:
    """Returns the most devices that a run can use.

    Args:
      num_free: How many devices are free.
      batch_sizes: Batch sizes, each of which must divide over the devices.
      multiple: What the number of devices must be a multiple of.
    """
    fitting = [
        n for n in range(multiple, num_free + 1, multiple) if not any(b % n for b in batch_sizes)
    ]
    return max(fitting, default=0)


def check(devices: Devices, model_parallel: int) -> None:
    """Checks that the devices are enough to share FC kernels.

    Raises:
      UserError: They aren't.
    """
    there = len(devices.names) if devices.kind == "gpu" else 1
    if devices.kind != "tpu" and model_parallel > there:
        raise UserError(
            f"model_parallel={model_parallel} needs as many GPUs; this machine has {devices}."
        )
