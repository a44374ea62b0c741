"""The kinds of source. Each is a class in a file NAME.py, which ends with `SOURCE = TheClass`.

The config's data.name is the name of a file here, or MODULE:NAME, a class in a user's own code. Any
other name is that of a TFDS data set. `SourceClass` says what a class must do.
"""

from vgg_jax.data.source import Source, SourceClass
from vgg_jax.data.specs import DataSpec, canonical_name
from vgg_jax.errors import UserError, require
from vgg_jax.system import by_name

_PARTS = ("class_names", "fingerprint", "contents_key", "__len__", "__getitem__", "label", "name")


def names() -> tuple[str, ...]:
    """Returns the values of data.name other than TFDS data sets and a user's own classes."""
    return tuple(name for name in by_name.names(__name__) if name != "tfds")


def find(name: str) -> SourceClass:
    """Returns the class that a data.name selects, without opening any data.

    Raises:
      UserError: The name is MODULE:NAME, and it isn't there or isn't a class of sources.
    """
    name = canonical_name(name)
    if not by_name.is_own(name) and name not in names():
        name = "tfds"
    found = by_name.load("data.name", name, __name__, "SOURCE")
    require(
        isinstance(found, type),
        f"data.name={name} must be a class, not {found!r}. See the section How to add a source of "
        "images in vgg_jax/README.md.",
    )
    require(
        hasattr(found, "default_val_split"),
        f"data.name={name} lacks default_val_split. Give the class this attribute, the name of the "
        "split to validate on if data.val_split is empty.",
    )
    return found


def open_split(data: DataSpec, split: str) -> Source:
    """Opens a split.

    Raises:
      UserError: The split can't be opened, or a user's own source lacks a required part.
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
    _refuse_wrong_labels(name, source)
    require(len(source) > 0, f"The split {split!r} of data.name={name} holds no images.")


def _refuse_wrong_labels(name: str, source: Source) -> None:
    num_classes = len(source.class_names)
    labels = range(num_classes) if num_classes else range(-1, 0)
    for index in range(len(source)):
        label = source.label(index)
        if label not in labels:
            raise UserError(
                f"The image {source.name(index)} of data.name={name} has the label {label}. Labels "
                f"are the indices of the {num_classes} class_names, from 0 on; without class_names "
                "all are -1."
            )
