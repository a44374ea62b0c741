"""Compiled programs that outlive the process."""

import pathlib

import jax


def keep(cache_dir: str) -> None:
    """Lets JAX keep what it compiles from now on, and take up what it kept before.

    JAX decides at its first compilation, so that comes after this. A folder that the user has named
    to JAX (JAX_COMPILATION_CACHE_DIR) stays.

    Args:
      cache_dir: See vgg_jax/base_config.py.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = pathlib.Path(cache_dir).expanduser() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
