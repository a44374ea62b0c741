"""The devices that JAX finds, or an error that a user can fix."""

import jax

from vgg_jax.errors import UserError, require


def found() -> list[jax.Device]:
    """Returns the devices of all processes. The first call makes JAX start them.

    Raises:
      UserError: JAX finds none of the platforms that JAX_PLATFORMS names, or a driver is broken, or
        JAX must not compile.
    """
    require(
        not jax.config.jax_disable_jit,
        "JAX_DISABLE_JIT is set, and nets are computed by compiled programs. Unset it.",
    )
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # Without a GPU the latter, without a message.
        wanted = jax.config.jax_platforms
        which = f"JAX_PLATFORMS={wanted}" if wanted else "this machine's devices"
        reason = str(error).partition("\n")[0] or f"it finds no {wanted} device"
        raise UserError(
            f"JAX can't use {which}: {reason}. Check the driver (nvidia-smi) and that JAX is "
            "installed for the device (pip install -e '.[cuda]' or '.[tpu]'), or set "
            "JAX_PLATFORMS=cpu to compute on the CPU."
        ) from error
