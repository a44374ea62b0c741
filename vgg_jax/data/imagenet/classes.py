"""The thousand classes of ILSVRC."""

import functools
import importlib.resources


@functools.cache
def words() -> dict[str, str]:
    """Returns the words of ILSVRC's 1,000 classes by their synsets, in the order of the labels."""
    text = importlib.resources.files(__package__).joinpath("classes.tsv").read_text("utf-8")
    return dict(line.split("\t", 1) for line in text.splitlines())


@functools.cache
def synsets() -> tuple[str, ...]:
    """Returns the 1,000 synsets, such as n01440764, in the order of the labels, which is sorted."""
    return tuple(words())
