"""Compiled programs that outlive the process."""

import pathlib

import jax


def keep(cache_dir: str) -> None:
    """Lets JAX keep what it compiles from now on, and take up what it kept before.

    Args:
      cache_dir: See configs/base.py.
    """
    folder = pathlib.Path(cache_dir).expanduser() / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
