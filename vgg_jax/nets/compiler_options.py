"""The options with which XLA compiles the commands' programs.

JAX takes options for an outermost `jax.jit` alone, so the functions of `evaluation.differentiable`,
which users compile within their own, have none.
"""

from jax.sharding import Mesh

# The operations that XLA for CPUs leaves to YNNPACK. By default convolutions are among them, and
# with few channels YNNPACK's are slower than Eigen's: a forward pass of the miniature E took 28 ms
# instead of 22. Its gradients of 3x3 kernels are slow with many channels too, and less exact: that
# of 3 x 64 kernels at 224 px differed by 1.4e-5 of its largest value from float64, instead of
# 3.9e-7.
_BY_PLATFORM = {
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
}


def for_mesh(mesh: Mesh) -> dict[str, str] | None:
    """Returns the `compiler_options` of `jax.jit` for the devices of a mesh."""
    return _BY_PLATFORM.get(mesh.devices.flat[0].platform)
