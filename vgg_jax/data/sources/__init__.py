"""Kinds of source. Each is one class in a file NAME.py, which ends in `SOURCE`.

A data.name finds its class by the file's name, or by MODULE:NAME in a user's own code; any other
name is a TFDS data set's. `SourceClass` says what a class must do.
"""

from vgg_jax.data.source import Source, SourceClass
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, require
from vgg_jax.system import by_name

_PARTS = ("class_names", "fingerprint", "contents_key", "__len__", "__getitem__", "label", "name")


def names() -> tuple[str, ...]:
    """Returns what a data.name may be besides a data set of TFDS and a user's own class."""
    return tuple(name for name in by_name.names(__name__) if name != "tfds")


def find(name: str) -> SourceClass:
    """Returns the class that a data.name means, without opening anything.

    Raises:
      UserError: It is MODULE:NAME, and there is no such class, or it is no class of sources.
    """
    if not by_name.is_own(name) and name not in names():
        name = "tfds"
    found = by_name.load("data.name", name, __name__, "SOURCE")
    require(
        isinstance(found, type),
        f"data.name={name} must be a class, not {found!r}: see How to add a source of images in "
        "vgg_jax/README.md.",
    )
    require(
        hasattr(found, "default_val_split"),
        f"data.name={name} lacks default_val_split. Give the class this attribute, the name of the "
        "split to validate on where data.val_split is empty.",
    )
    return found


def open_split(data: DataSpec, split: str) -> Source:
    """Opens a split.

    Raises:
      UserError: It can't be opened, or a user's own source lacks something.
    """
    source = find(data.name)(data, split)
    if by_name.is_own(data.name):
        _refuse_incomplete(data.name, split, source)
    return source


def _refuse_incomplete(name: str, split: str, source: object) -> None:
    missing = [part for part in _PARTS if not hasattr(source, part)]
    if missing:
        raise UserError(
            f"The sources of data.name={name} lack {', '.join(missing)}. `Source` in "
            "vgg_jax/data/source.py says what each of these is."
        )
    require(
        isinstance(source.class_names, tuple),
        f"The class_names of data.name={name} must be a tuple, not a "
        f"{type(source.class_names).__name__}.",
    )
    require(len(source) > 0, f"The split {split!r} of data.name={name} holds no images.")
