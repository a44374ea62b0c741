"""The devices of this machine, and how a process is bound to some of them."""

import dataclasses
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Literal

from vgg_jax.data import workers
from vgg_jax.errors import UserError
from vgg_jax.system import launched_by


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of one kind.

    Attributes:
      kind: "gpu", "core" for the cores of a CPU, or "tpu" for all chips of a TPU host, which one
        process must use together.
      names: The names of GPUs in CUDA_VISIBLE_DEVICES, the operating system's numbers of cores, or
        "all" for a TPU host. A GPU that several tasks share is named once for each of them.
      tasks_per_gpu: The number of tasks that share a GPU and its memory.
      cores_per_name: The share of the machine's cores that belongs to each name of a GPU; None for
        all cores.
    """

    kind: Literal["gpu", "core", "tpu"]
    names: tuple[str, ...]
    tasks_per_gpu: int = 1
    cores_per_name: int | None = None

    def __str__(self) -> str:
        """Returns the kind and the names, for example "cores 0, 1" or "GPU 0"."""
        if self.kind == "tpu":
            return "all chips of a TPU host"
        kind = {"gpu": "GPU", "core": "core"}[self.kind]
        return f"{kind}{'s' if len(self.names) != 1 else ''} {', '.join(self.names)}"

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that bind a process to these devices, if any."""
        if self.kind != "gpu":
            return {}
        bound = {"CUDA_VISIBLE_DEVICES": ",".join(self.names)}
        if self.tasks_per_gpu > 1:  # By default each process takes three quarters of the memory.
            bound["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / self.tasks_per_gpu:.3f}"
        if self.cores_per_name:
            bound[workers.CORES] = str(self.cores_per_name * len(self.names))
        return bound

    def shared(self, tasks_per_gpu: int) -> "Devices":
        """Returns the same devices, with room for several tasks on each GPU.

        Tasks on different GPUs, or on the same one, share the machine's cores.
        """
        if self.kind != "gpu":
            return self
        names = self.names * tasks_per_gpu
        cores = max(1, workers.available_cores() // len(names))
        return Devices(self.kind, names, tasks_per_gpu, cores)

    def bind(self) -> None:
        """Binds this process to these cores, if they are cores; XLA then starts as many threads."""
        if self.kind == "core" and self.names:
            os.sched_setaffinity(0, map(int, self.names))


def find() -> Devices:
    """Returns this machine's accelerators, or the cores of its CPU if JAX would find none.

    CUDA_VISIBLE_DEVICES, JAX_PLATFORMS=cpu and `taskset` limit what is found. JAX itself isn't
    asked, because this process would then occupy the devices.
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
        # CUDA ignores the first invalid name, such as -1, and all names after it.
        return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), visible.split(",")))
    if not shutil.which("nvidia-smi"):
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))


def most(num_free: int, batch_sizes: Sequence[int], multiple: int) -> int:
    """Returns the largest number of devices that a run can use, or 0.

    Args:
      num_free: How many devices are free.
      batch_sizes: Batch sizes, each of which must be a multiple of the number of devices.
      multiple: The number of devices must be a multiple of this.
    """
    fitting = [
        n for n in range(multiple, num_free + 1, multiple) if not any(b % n for b in batch_sizes)
    ]
    return max(fitting, default=0)


def check(devices: Devices, model_parallel: int) -> None:
    """Checks that there are enough devices to shard the FC kernels over.

    Args:
      devices: This machine's devices.
      model_parallel: The number of devices that each FC kernel is sharded over.

    Raises:
      UserError: model_parallel is larger than the number of GPUs.
    """
    there = len(devices.names) if devices.kind == "gpu" else 1
    if devices.kind != "tpu" and model_parallel > there:
        raise UserError(
            f"model_parallel={model_parallel} needs as many GPUs; this machine has {devices}."
        )
