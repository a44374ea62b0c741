"""VGG in JAX: the nets, the recipe and the test protocol of Simonyan & Zisserman 2015.

`vgg_jax.load` opens a trained net in Python, and `python -m vgg_jax` lists the commands. README.md
in this folder says what each package and module is for.
"""

import sys

# Python imports this package before the module of `python -m vgg_jax.COMMAND`.
if sys.argv[:1] == ["-m"]:
    from vgg_jax.system import huge_pages, signals

    if huge_pages.begun_module().startswith("vgg_jax."):
        signals.handle()
        huge_pages.use("vgg_jax.main", "vgg_jax.predict", "vgg_jax.features")

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # `load` needs JAX, but commands and worker processes import the package without JAX.
    if name == "load":
        from vgg_jax.evaluation.loading import load

        return load
    raise AttributeError(f"module 'vgg_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "load"])
