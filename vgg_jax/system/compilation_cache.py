"""A cache on the disk for the programs that JAX compiles."""

import contextlib
import pathlib
import re
import warnings

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
            _remove_what_is_cut_short(folder)


def _remove_what_is_cut_short(folder: pathlib.Path) -> None:
    """Removes the programs that JAX warns of, in place of the warning.

    A full disk leaves a part of a program, and so does a process that is killed while it writes.
    JAX would compile it, and warn, at each start. Once it is removed, JAX writes it again.
    """
    show = warnings.showwarning

    def remove_or_show(message: Warning | str, *about: object, **more: object) -> None:
        failed = re.match(r"Error \w+ persistent .* cache entry for '(\w+)'", str(message))
        if failed is None:
            show(message, *about, **more)
            return
        for path in folder.glob(f"{failed[1]}-*"):
            path.unlink(missing_ok=True)

    warnings.showwarning = remove_or_show
