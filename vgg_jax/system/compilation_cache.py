"""A cache on the disk for the programs that JAX compiles."""

import contextlib

import jax

from vgg_jax.errors import UserError
from vgg_jax.storage import cache_folder


def keep(cache_dir: str) -> None:
    """Makes JAX keep the programs that it compiles, and reuse those that it has kept before.

    JAX decides at its first compilation whether it has a cache, so call this before that. A
    folder that the user has set for JAX (JAX_COMPILATION_CACHE_DIR) takes precedence. Nothing is
    kept where the folder can't be written to.

    Args:
      cache_dir: `data.cache_dir` of vgg_jax/base_config.py.
    """
    if jax.config.jax_compilation_cache_dir is None:
        with contextlib.suppress(UserError):  # JAX would warn of each program.
            folder = cache_folder.path(cache_dir, "compiled")
            cache_folder.make(folder)
            jax.config.update("jax_compilation_cache_dir", str(folder))
