"""The runs of the paper, a file each; `base` names every key."""

import pkgutil


def names() -> list[str]:
    """Lists the runs that have a file here."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in modules if name not in ("base", "mini")]
