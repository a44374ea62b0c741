"""The options with which XLA compiles the commands' programs.

JAX takes options for an outermost `jax.jit` alone, so the functions of `evaluation.differentiable`,
which users compile within their own, have none.
"""

from collections.abc import Mapping
from typing import Literal

from jax.sharding import Mesh

Options = Mapping[str, str | bool]
Use = Literal["training", "inference"]

# The operations that XLA for CPUs leaves to YNNPACK. By default convolutions are among them, and
# with few channels YNNPACK's are slower than Eigen's: a forward pass of the miniature E took 28 ms
# instead of 22. Its gradients of 3x3 kernels are slow with many channels too, and less exact: that
# of 3 x 64 kernels at 224 px differed by 1.4e-5 of its largest value from float64, instead of
# 3.9e-7.
_CPU: Options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}

# XLA for GPUs compiles many variants of each matrix product by Triton, and takes the fastest of
# them or cuBLAS. It took cuBLAS for all FC layers of D in bfloat16. In float32 without TF32 one
# variant takes up to 5 s to compile, and the programs of a miniature took 23 to 95 s each.
_GPU_INFERENCE: Options = {"xla_gpu_enable_triton_gemm": False}

BY_PLATFORM: Mapping[tuple[str, Use], Options] = {
    ("cpu", "training"): _CPU,
    ("cpu", "inference"): _CPU,
    ("gpu", "inference"): _GPU_INFERENCE,
}


def for_mesh(mesh: Mesh, use: Use) -> Options | None:
    """Returns the `compiler_options` of `jax.jit` for the devices of a mesh."""
    return BY_PLATFORM.get((mesh.devices.flat[0].platform, use))
