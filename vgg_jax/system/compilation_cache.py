"""A cache on the disk for the programs that JAX compiles."""

import pathlib

import jax


def keep(cache_dir: str) -> None:
    """Makes JAX keep the programs that it compiles, and reuse those that it has kept before.

    JAX decides at its first compilation whether it has a cache, so call this before that. A
    folder that the user has set for JAX (JAX_COMPILATION_CACHE_DIR) takes precedence.

    Args:
      cache_dir: `data.cache_dir` of vgg_jax/base_config.py.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = pathlib.Path(cache_dir).expanduser() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
