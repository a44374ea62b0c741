"""The names of the classes of an imported net."""

import collections
import pathlib

from vgg_jax.data.imagenet import classes
from vgg_jax.errors import UserError, require, some_of


def shown(name: str) -> str:
    """Returns the name of a class with ImageNet's words for it, if it is one of its synsets."""
    words = classes.words().get(name)
    return f"{name} {words}" if words else name


def short(name: str) -> str:
    """Returns the words for one of ImageNet's synsets, and any other class's name as it is."""
    return classes.words().get(name, name)


def of_net(num_classes: int, file: str | None) -> tuple[str, ...]:
    """Returns the names of a net's classes, in the order of the labels.

    Args:
      num_classes: The outputs of FC8.
      file: A text file with one name per line; None for ImageNet's synsets.

    Raises:
      UserError: The file can't be read or has another number of names, a name occurs twice, or
        there is no file and the net has not 1,000 classes.
    """
    if file is None:
        synsets = classes.synsets()
        if num_classes == len(synsets):
            return synsets
        raise UserError(
            f"The net has {num_classes:,} classes, not ImageNet's {len(synsets):,}. Name them with "
            "--classes=FILE, one name per line in the order of the labels."
        )
    try:
        names = pathlib.Path(file).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes={file} can't be read: {error}.") from error
    wrong = _wrong(names, num_classes)
    require(
        wrong is None,
        f"--classes={file} {wrong}. Give each class a line with a name of its own, in the order of "
        "the labels.",
    )
    return tuple(names)


def _wrong(names: list[str], num_classes: int) -> str | None:
    if len(names) != num_classes:
        return f"has {len(names):,} lines, and the net has {num_classes:,} classes"
    if "" in names:
        return f"has no name in line {names.index('') + 1:,}"
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    return f"has names in more than one line: {some_of(twice)}" if twice else None
