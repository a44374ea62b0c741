"""The devices of this machine, and how a process is bound to some of them."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of one kind.

    Attributes:
      kind: GPUs; the cores of a CPU; or a TPU host's chips, which one process holds together.
      names: As CUDA_VISIBLE_DEVICES or the scheduler of the operating system has them.
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
    if list(pathlib.Path("/dev").glob("accel*")) or pathlib.Path("/dev/vfio/0").exists():
        return Devices("tpu", ("all",))
    return cores


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(filter(None, visible.split(",")))
    if not shutil.which("nvidia-smi"):
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))


def share(free: Sequence[str], num_ready: int, batch_sizes: Sequence[int]) -> int:
    """Returns how many devices one of several runs that could start now gets.

    Args:
      free: The devices.
      num_ready: Runs that could start now; each is to get as many, one at least.
      batch_sizes: Each must divide over them.
    """
    most = max(1, len(free) // num_ready)
    return max(n for n in range(1, most + 1) if not any(size % n for size in batch_sizes))
