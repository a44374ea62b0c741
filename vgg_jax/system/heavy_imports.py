"""Imports JAX and its dependencies without Python's garbage collector."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Exempts what is imported in this context from garbage collection, until the process ends.

    These are a million objects, and nearly all of them stay. Scanning them again and again, during
    the imports, JAX's compilation and the process's exit, took a sixth of a short run's time.
    """
    if "jax" in sys.modules:  # Freezing now would also keep a run's garbage forever.
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
