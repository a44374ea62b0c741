"""Finds the classes of a data set among those of a net: by name, by index or by words."""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vgg_jax.errors import UserError, some_of
from vgg_jax.foreign import class_names

# Two of ImageNet's classes show the same things, and their words differ in their number alone.
_SAME_WORD = {"sunglasses": "sunglass"}


class MatchedClasses(NamedTuple):
    """The classes of a data set, as classes of a net.

    Attributes:
      indices: The net's class for each label of the data set.
      how: How they were found, for people, for example "by synset".
    """

    indices: Int[np.ndarray, " d"]
    how: str


def match(names: tuple[str, ...], of_net: tuple[str, ...], net: str) -> MatchedClasses:
    """Finds each class of a data set among the classes of a net.

    Names are compared first. If all names are numerals, and none is a name of the net's, they are
    indices of the net's classes. Other names are compared with the net's names and with ImageNet's
    words for its synsets, where case, hyphens and underscores don't count.

    Args:
      names: The names of the data set's classes.
      of_net: The names of the net's classes. The data set may lack some of them.
      net: Which net it is, for messages, for example "the net in runs/mine".

    Raises:
      UserError: The net lacks a class, a word may mean several of its classes, or two classes of
        the data set are the same one of the net.
    """
    by_name = {name: index for index, name in enumerate(of_net)}
    numbered = [name for name in names if name.isascii() and name.isdigit()]
    if len(numbered) == len(names) and not {*names} & {*of_net}:
        found = {name: [int(name)] if int(name) < len(of_net) else [] for name in names}
        how = "by index"
    else:
        by_word = _by_word(of_net)
        found = {
            name: [by_name[name]] if name in by_name else _of_words(name, by_word) for name in names
        }
        how = _how(names, by_name)
    _refuse_absent([name for name in names if not found[name]], len(names), of_net, net)
    _refuse_ambiguous({name: of for name, of in found.items() if len(of) > 1}, of_net)
    indices = np.array([found[name][0] for name in names], np.int32)
    _refuse_same(names, indices, of_net)
    others = [name for name in names if name not in by_name]
    if others:
        how += f" (for example, {others[0]} is {class_names.shown(of_net[found[others[0]][0]])})"
    return MatchedClasses(indices, how)


def _how(names: tuple[str, ...], by_name: dict[str, int]) -> str:
    exact = [name for name in names if name in by_name]
    synsets = all(class_names.short(name) != name for name in exact)
    ways = ["by synset" if synsets else "by name"] if exact else []
    return " and ".join([*ways, *(["by words"] if len(exact) < len(names) else [])])


def _by_word(of_net: tuple[str, ...]) -> dict[str, list[int]]:
    """Returns the net's classes for each folded text that may name one."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(of_net):
        words = class_names.short(name)
        first = words.split(",")[0]
        texts = (name, words, first, re.sub(r" \(.*\)$", "", first))  # crane (bird), for instance.
        for text in {*map(_folded, texts)}:
            found.setdefault(text, []).append(index)
    return found


def _of_words(name: str, by_word: dict[str, list[int]]) -> list[int]:
    texts = {_folded(name), _folded(class_names.short(name))}
    return sorted({index for text in texts for index in by_word.get(text, ())})


def _folded(text: str) -> str:
    folded = " ".join(re.sub(r"[_-]", " ", text).casefold().split())
    return _SAME_WORD.get(folded, folded)


def _refuse_absent(absent: list[str], of: int, of_net: tuple[str, ...], net: str) -> None:
    if not absent:
        return
    own = some_of([*map(class_names.shown, of_net)])
    if len(absent) == of:
        problem = (
            f"has none of the {of:,} classes of the images ({some_of(absent)}). Its own "
            f"{len(of_net):,} are {own}. To teach it these classes, start a run from it: "
            "--config.init_from=WORKDIR --config.init_layers=all_but_fc8."
        )
    else:
        problem = (
            f"lacks {len(absent):,} of the {of:,} classes of the images: {some_of(absent)}. Rename "
            f"them to names of the net's {len(of_net):,} classes ({own}), or move them out of the "
            "data set."
        )
    raise UserError(
        f"{net[0].upper()}{net[1:]} {problem} Or choose another data set with --config.data.name, "
        ".dir and .val_split, or another --workdir."
    )


def _refuse_ambiguous(ambiguous: dict[str, list[int]], of_net: tuple[str, ...]) -> None:
    lines = [
        f"{name} may be {' or '.join(class_names.shown(of_net[index]) for index in indices)}"
        for name, indices in ambiguous.items()
    ]
    if lines:
        raise UserError(
            f"The names of these classes are not clear: {some_of(lines)}. Rename each folder to "
            f"the net's own name of one class, for example "
            f"{of_net[next(iter(ambiguous.values()))[0]]}."
        )


def _refuse_same(
    names: tuple[str, ...], indices: Int[np.ndarray, " d"], of_net: tuple[str, ...]
) -> None:
    (index, count), *_ = Counter(indices.tolist()).most_common(1)
    if count > 1:
        same = [name for name, k in zip(names, indices, strict=True) if k == index]
        raise UserError(
            f"The classes {' and '.join(same)} of the images are one class of the net, "
            f"{class_names.shown(of_net[index])}. Put their images into one folder."
        )
