"""Imports JAX and what comes with it without Python's garbage collector."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Lets the garbage collector pass over what is imported meanwhile, now and until the end.

    That is a million objects, nearly all of which stay. Looking through them again and again, in
    the imports, in JAX's compilation and at the process's end, took a sixth of a short run's time.
    """
    if "jax" in sys.modules:  # What a run has made since might be garbage that must not stay.
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
